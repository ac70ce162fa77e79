// SPDX-License-Identifier: Apache-2.0
/// KeyDiff and H2O in one: a token stays if its key stands out, or if it has been attended to.
#pragma once

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/h2o.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/scorers/attention_history.hpp>
#include <tightkv/scorers/best_rank.hpp>
#include <tightkv/scorers/key_distinctness.hpp>

namespace tightkv {

/// Key geometry finds what a later question may ask for; accumulated attention finds what the text itself leans on.
/// Each token is worth the better of its ranks by KeyDiff (arXiv:2504.15364) and by H2O's attention (arXiv:2306.14048),
/// averaged over the queries that could see the token.
///
///     auto const plan = tightkv::decide(ex, tightkv::key_diff_h2o{.budget = tightkv::keep_ratio{0.5}}, observed_view).plan;
///
/// Needs keys and the queries of all tokens appended since the last call. A composition of this library's.
struct key_diff_h2o {
  static constexpr method_info info{
      .name = "key_diff_h2o",
      .summary = "Keeps the tokens whose keys stand out or that received most attention per query.",
      .needs = "keys and the queries of all tokens",
      .paper = "tightkv's fusion of arXiv:2504.15364 and arXiv:2306.14048",
      .paper_defaults = "none"};

  tightkv::budget budget = keep_ratio{};
  int sink = 0;
  int recent = 0;

  static void parameters(auto& self, auto&& visit) {
    visit("keep", self.budget, "fraction of all tokens kept");
    visit("sink", self.sink, "first tokens, protected");
    visit("recent", self.recent, "last tokens, protected");
  }

  template <class Memory>
  using state_in = h2o::state_in<Memory>;
  using state = h2o::state;

  template <executor E, view_with_queries V>
  decision<E> decide(E const& ex, V const& view, state_in<typename E::memory>& s) const {
    protected_tokens const protect{sink, recent};
    auto const from = within(ex, view, budget, protect, s.limit);
    s.history.average = attention_average::per_visible_query;
    s.history.observe(ex, view);
    return keep_best(ex, view, best_rank{key_distinctness{}, borrowed{s.history}, protect}, from);
  }
};
static_assert(method<key_diff_h2o>);

}  // namespace tightkv
