// SPDX-License-Identifier: Apache-2.0
/// L2 norm: keeps the tokens with the shortest keys.
#pragma once

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/scorers/key_norm.hpp>

namespace tightkv {

/// Keys of low norm attract attention, so the longest keys go. Devoto et al., EMNLP 2024, arXiv:2406.11430.
///
///     auto const plan = tightkv::decide(ex, tightkv::l2_norm{.budget = tightkv::keep_ratio{0.25}}, view).plan;
///
/// Needs keys alone. The norm says little in models that normalise their keys (QK-norm), where ties decide.
struct l2_norm {
  static constexpr method_info info{.name = "l2_norm",
                                    .summary = "Keeps the tokens with the shortest keys.",
                                    .needs = "keys",
                                    .paper = "Devoto et al., EMNLP 2024, arXiv:2406.11430",
                                    .paper_defaults = "no protected tokens; the first two layers are left whole"};

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
    return keep_best(ex, view, key_norm{}, within(ex, view, budget, {sink, recent}, limit));
  }
};
static_assert(method<l2_norm>);

}  // namespace tightkv
