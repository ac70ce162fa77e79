// SPDX-License-Identifier: Apache-2.0
/// TOVA: keeps the tokens that the newest query attends to.
#pragma once

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/scorers/last_query_attention.hpp>

namespace tightkv {

/// The token with the least attention from the current query goes, the same in all heads of a layer. Oren et al.,
/// arXiv:2401.06104. The newest token is protected.
///
///     auto const plan = tightkv::decide(ex, tightkv::tova{.budget = tightkv::keep_tokens{512}}, observed_view).plan;
///
/// Needs keys and the last query.
struct tova {
  static constexpr method_info info{
      .name = "tova",
      .summary = "Keeps the tokens the last query attends to, the same in all heads of a layer.",
      .needs = "keys and the last query",
      .paper = "Oren et al., arXiv:2401.06104",
      .paper_defaults = "one token evicted at every step"};

  tightkv::budget budget = keep_ratio{};

  static void parameters(auto& self, auto&& visit) { visit("keep", self.budget, "fraction of all tokens kept"); }

  using state = capacity;

  template <executor E, view_with_queries V>
  decision<E> decide(E const& ex, V const& view, state& limit) const {
    return keep_best(ex, view, last_query_attention{}, within(ex, view, budget, {.recent = 1}, limit));
  }
};
static_assert(method<tova>);

}  // namespace tightkv
