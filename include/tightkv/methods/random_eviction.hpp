// SPDX-License-Identifier: Apache-2.0
/// Random eviction: the baseline that any method has to beat.
#pragma once

#include <cstdint>

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/ops/random_scores.hpp>
#include <tightkv/scorers/row_numbers.hpp>

namespace tightkv {

/// Each token of each head draws one number, for good, so that evicting all at once or token by token keeps the same
/// set.
///
///     auto const plan = tightkv::decide(ex, tightkv::random_eviction{.seed = 7}, view).plan;
///
/// Looks at lengths alone.
struct random_eviction {
  static constexpr method_info info{.name = "random",
                                    .summary = "Keeps tokens drawn at random: the baseline to beat.",
                                    .needs = "nothing",
                                    .paper = "none",
                                    .paper_defaults = "none"};

  tightkv::budget budget = keep_ratio{};
  std::uint64_t seed = 0;
  int sink = 0;
  int recent = 0;

  static void parameters(auto& self, auto&& visit) {
    visit("keep", self.budget, "fraction of all tokens kept");
    visit("seed", self.seed, "of the random numbers");
    visit("sink", self.sink, "first tokens, protected");
    visit("recent", self.recent, "last tokens, protected");
  }

  /// Which token of the sequence each row is.
  template <class Memory>
  struct state_in {
    capacity limit;
    row_numbers<Memory> numbers;

    void expect(int tokens) noexcept { limit.expect(tokens); }
    template <executor E>
    void apply(E const& ex, basic_plan<Memory> const& p) {
      numbers.apply(ex, p);
    }
  };
  using state = state_in<host_memory>;

  template <class Memory>
  struct scorer {
    std::uint64_t seed;
    matrix_view<int const, Memory> numbers{};

    template <executor E, class V>
    void score(E const& ex, V const&, scores_view<E> out) const {
      random_scores(ex, numbers, seed, out);
    }
  };

  template <executor E, class V>
  decision<E> decide(E const& ex, V const& view, state_in<typename E::memory>& s) const {
    auto const from = within(ex, view, budget, {sink, recent}, s.limit);
    s.numbers.observe(ex, view);
    return keep_best(ex, view, scorer<typename E::memory>{seed, s.numbers.view()}, from);
  }
};
static_assert(method<random_eviction>);

}  // namespace tightkv
