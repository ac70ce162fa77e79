// SPDX-License-Identifier: Apache-2.0
/// KeyDiff: keeps the tokens whose keys differ most from the others.
#pragma once

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/scorers/key_distinctness.hpp>

namespace tightkv {

/// Keys close to the mean direction are redundant. Park et al., arXiv:2504.15364. Called after every block of a prefill
/// it is the paper's block-wise iteration.
///
///     auto const plan = tightkv::decide(ex, tightkv::key_diff{.budget = tightkv::keep_ratio{0.25}}, view).plan;
///
/// Needs keys alone.
struct key_diff {
  static constexpr method_info info{.name = "key_diff",
                                    .summary = "Keeps the tokens whose keys point away from the mean key.",
                                    .needs = "keys",
                                    .paper = "Park et al., KeyDiff, arXiv:2504.15364",
                                    .paper_defaults = "compresses after every block of 128 tokens"};

  tightkv::budget budget = keep_ratio{};
  int sink = 0;
  int recent = 0;

  static void parameters(auto& self, auto&& visit) {
    visit("keep", self.budget, "fraction of all tokens kept");
    visit("sink", self.sink, "first tokens, protected");
    visit("recent", self.recent, "last tokens, protected");
  }

  using state = capacity;

  template <executor E, view_with_keys V>
  decision<E> decide(E const& ex, V const& view, state& limit) const {
    return keep_best(ex, view, key_distinctness{}, within(ex, view, budget, {sink, recent}, limit));
  }
};
static_assert(method<key_diff>);

}  // namespace tightkv
