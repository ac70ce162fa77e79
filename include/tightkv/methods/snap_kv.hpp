// SPDX-License-Identifier: Apache-2.0
/// SnapKV: keeps what the end of the prompt attends to, and its surroundings.
#pragma once

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/scorers/window_votes.hpp>

namespace tightkv {

/// The last `window` queries of the prompt vote; votes are pooled over neighbouring tokens, so that what is kept keeps
/// its context. The window itself is protected. Li et al., arXiv:2404.14469.
///
///     auto const plan = tightkv::decide(ex, tightkv::snap_kv{.budget = tightkv::keep_tokens{1024}}, observed_view).plan;
///
/// Needs keys and the last `window` queries.
struct snap_kv {
  static constexpr method_info info{
      .name = "snap_kv",
      .summary = "Keeps the tokens that the last queries attend to, and their neighbours.",
      .needs = "keys and the last `window` queries",
      .paper = "Li et al., arXiv:2404.14469",
      .paper_defaults = "window 32, average pooling with kernel 5, in the published code"};

  tightkv::budget budget = keep_ratio{};
  int window = 64;
  int kernel = 5;
  tightkv::pooling pooling = tightkv::pooling::average;

  static void parameters(auto& self, auto&& visit) {
    visit("keep", self.budget, "fraction of all tokens kept");
    visit("window", self.window, "last queries that vote; their tokens are protected");
    visit("kernel", self.kernel, "tokens pooled together, odd");
    visit("pooling", self.pooling, "avg or max");
  }

  using state = capacity;

  template <executor E, view_with_queries V>
  decision<E> decide(E const& ex, V const& view, state& limit) const {
    detail::expects(window >= 1, "snap_kv", "window must be at least 1", "window", window);
    detail::expects(kernel >= 1 && kernel % 2 == 1, "snap_kv", "kernel must be odd", "kernel", kernel);
    auto const from = within(ex, view, budget, {.recent = window}, limit);
    for (int q = 0; q < view.queries.heads(); ++q) {
      auto const h = static_cast<std::size_t>(q / group_size(view));
      bool const due = from.kept[h] < from.lengths[h];
      detail::expects(!due || view.queries.tokens(q) >= window, "snap_kv", "needs the queries of the window", "queries",
                      view.queries.tokens(q), "window", window);
    }
    return keep_best(ex, view, window_votes{.window = window, .kernel = kernel, .pooling = pooling}, from);
  }
};
static_assert(method<snap_kv>);

}  // namespace tightkv
