// SPDX-License-Identifier: Apache-2.0
/// What most methods are: protect the ends, score the rest, keep the best.
#pragma once

#include <algorithm>

#include <tightkv/methods/capacity.hpp>
#include <tightkv/methods/decision.hpp>
#include <tightkv/ops/keep_outside.hpp>
#include <tightkv/ops/mark_unjudged.hpp>
#include <tightkv/scorers/concept.hpp>
#include <tightkv/selectors/top_k.hpp>

namespace tightkv {

/// Scores the view, and keeps of each head what `from` allows. Where nothing is to be evicted, nothing is scored.
template <executor E, view_with_keys V, class S>
requires scorer_for<S, E, V> decision<E> keep_best(E const& ex, V const& view, S const& scorer,
                                                   candidates const& from) {
  auto scores = make_scores(ex, view.heads(), longest(view.keys));
  if (from.lengths == from.kept) return {keep_all(ex, from.lengths), std::move(scores)};
  scorer.score(ex, view, scores.view());
  mark_unjudged(ex, from.judged, scores.view());
  auto kept = top_k{}.select(ex, scores.view(), from);
  return {std::move(kept), std::move(scores)};
}

/// The same number of protected tokens in every head, and a budget.
template <executor E, view_with_keys V>
candidates within(E const& ex, V const& view, budget const& b, protected_tokens const& protect, capacity& limit) {
  protect.check("protected_tokens");
  candidates from(ex.resource());
  for (int h = 0; h < view.heads(); ++h) {
    from.add(view.tokens(h), protect, std::min(view.tokens(h), limit.of(b, view, h, protect.count())));
  }
  return from;
}

}  // namespace tightkv
