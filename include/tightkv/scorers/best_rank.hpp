// SPDX-License-Identifier: Apache-2.0
/// Fuses two scorers: a token is worth the better of its two ranks.
#pragma once

#include <memory_resource>
#include <vector>

#include <tightkv/ops/larger_of.hpp>
#include <tightkv/ops/rank_tokens.hpp>
#include <tightkv/scorers/concept.hpp>

namespace tightkv {

/// score = max(rank by `first`, rank by `second`), ranks counted among the unprotected tokens of the head from 0 for
/// the worst. Scores of different kinds need no common scale, and a token that either scorer thinks much of stays.
///
///     tightkv::best_rank{tightkv::key_distinctness{}, tightkv::key_norm{}, {.sink = 4}}.score(ex, view, scores.view());
///
/// Needs what its parts need. Cost: theirs, and two sorts of the scores.
template <class First, class Second>
struct best_rank {
  First first{};
  Second second{};
  protected_tokens protect{};

  template <executor E, view_with_keys V>
  requires scorer_for<First, E, V> && scorer_for<Second, E, V> && reachable_from<V, E>
  void score(E const& ex, V const& view, scores_view<E> out) const {
    std::pmr::vector<token_range> judged(ex.resource());
    for (int h = 0; h < view.heads(); ++h) judged.push_back(protect.judged(view.tokens(h)));
    first.score(ex, view, out);
    rank_tokens(ex, out, {.ranges = judged});
    auto other = make_scores(ex, out.rows, out.cols);
    second.score(ex, view, other.view());
    rank_tokens(ex, other.view(), {.ranges = judged});
    larger_of(ex, other.view(), out);
  }
};
template <class First, class Second>
best_rank(First, Second, protected_tokens) -> best_rank<First, Second>;

/// A scorer that is somebody's state, and stays there.
template <class Scorer>
struct borrowed {
  Scorer const& scorer;

  template <executor E, view_with_keys V>
  requires scorer_for<Scorer, E, V>
  void score(E const& ex, V const& view, scores_view<E> out) const { scorer.score(ex, view, out); }
};
template <class Scorer>
borrowed(Scorer const&) -> borrowed<Scorer>;

}  // namespace tightkv
