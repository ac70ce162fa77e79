// SPDX-License-Identifier: Apache-2.0
/// Random eviction: the baseline that any method has to beat.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/ops/random_scores.hpp>

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
  class state {
   public:
    capacity limit;

    void expect(int tokens) noexcept { limit.expect(tokens); }

    template <class V>
    matrix_view<int const> numbers(V const& view) {
      if (rows_.empty()) rows_.resize(static_cast<std::size_t>(view.heads()));
      detail::expects(static_cast<int>(rows_.size()) == view.heads(), "random_eviction",
                      "the number of heads has changed", "heads", view.heads(), "before", rows_.size());
      if (longest(view.keys) > numbers_.cols() || numbers_.empty()) {
        matrix<int> larger(view.heads(), std::max(1, longest(view.keys) + longest(view.keys) / 2));
        for (int h = 0; h < view.heads(); ++h)
          std::copy_n(numbers_.view().row(h), numbers_.cols(), larger.view().row(h));
        numbers_ = std::move(larger);
      }
      for (int h = 0; h < view.heads(); ++h) {
        auto& [known, next] = rows_[static_cast<std::size_t>(h)];
        for (; known < view.tokens(h); ++known) numbers_(h, known) = next++;
      }
      return numbers_.view();
    }

    template <executor E>
    void apply(E const&, plan const& p) {
      for (int h = 0; h < p.heads(); ++h) {
        int to = 0;
        for (int const from : p.kept(h)) numbers_(h, to++) = numbers_(h, from);
        rows_[static_cast<std::size_t>(h)].known = to;
      }
    }

   private:
    struct head {
      int known = 0;  // rows
      int next = 0;   // token
    };
    std::vector<head> rows_;
    matrix<int> numbers_;
  };

  struct scorer {
    std::uint64_t seed;
    matrix_view<int const> numbers{};

    template <executor E, class V>
    void score(E const& ex, V const&, scores_view<E> out) const {
      random_scores(ex, numbers, seed, out);
    }
  };

  template <executor E, class V>
  decision<E> decide(E const& ex, V const& view, state& s) const {
    auto const from = within(ex, view, budget, {sink, recent}, s.limit);
    return keep_best(ex, view, scorer{seed, s.numbers(view)}, from);
  }
};
static_assert(method<random_eviction>);

}  // namespace tightkv
