// SPDX-License-Identifier: Apache-2.0
/// H2O: keeps the heavy hitters and the most recent tokens.
#pragma once

#include <algorithm>
#include <optional>

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/scorers/attention_history.hpp>

namespace tightkv {

/// Half of the budget is for the newest tokens, half for those that received most attention so far; the sums travel
/// with the rows, so that eviction goes on token by token while decoding. Zhang et al., NeurIPS 2023, arXiv:2306.14048.
///
///     tightkv::h2o const method{.budget = tightkv::keep_tokens{512}};
///     tightkv::h2o::state state;                              // per layer and sequence
///     tightkv::compress(ex, method, observed_view, state);    // after the prompt, and after every step
///
/// Needs keys and the queries of all tokens appended since the last call.
struct h2o {
  static constexpr method_info info{.name = "h2o",
                                    .summary = "Keeps the tokens that received most attention so far, and the newest.",
                                    .needs = "keys and the queries of all tokens",
                                    .paper = "Zhang et al., NeurIPS 2023, arXiv:2306.14048",
                                    .paper_defaults = "0.1 of the prompt heavy hitters, 0.1 recent"};

  tightkv::budget budget = keep_ratio{};
  std::optional<int> recent = std::nullopt;  // default: half of the tokens kept
  attention_average average = attention_average::sum;

  static void parameters(auto& self, auto&& visit) {
    visit("keep", self.budget, "fraction of all tokens kept");
    visit("recent", self.recent, "last tokens, protected (default: half of the tokens kept)");
  }

  /// What lies with the cache, in its memory.
  template <class Memory>
  struct state_in {
    capacity limit;
    basic_attention_history<Memory> history;

    void expect(int tokens) noexcept { limit.expect(tokens); }
    template <executor E>
    void apply(E const& ex, basic_plan<Memory> const& p) {
      history.apply(ex, p);
    }
  };
  using state = state_in<host_memory>;

  template <executor E, view_with_queries V>
  decision<E> decide(E const& ex, V const& view, state_in<typename E::memory>& s) const {
    protected_tokens{.recent = recent.value_or(0)}.check("h2o");
    check(budget);
    candidates from(ex.resource());
    for (int h = 0; h < view.heads(); ++h) {
      int const kept = std::min(view.tokens(h), s.limit.of(budget, view, h, recent.value_or(0)));
      from.add(view.tokens(h), {.recent = recent.value_or(kept / 2)}, kept);
    }
    s.history.average = average;
    s.history.observe(ex, view);
    return keep_best(ex, view, s.history, from);
  }
};
static_assert(method<h2o>);

}  // namespace tightkv
