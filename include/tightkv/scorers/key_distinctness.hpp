// SPDX-License-Identifier: Apache-2.0
/// Keeps tokens whose keys point away from the others.
#pragma once

#include <tightkv/ops/mean_cosine.hpp>
#include <tightkv/scorers/concept.hpp>

namespace tightkv {

/// score = -cos(k, mean of the normalised keys): keys like all the others are redundant. Park et al., KeyDiff,
/// arXiv:2504.15364. A zero key has cosine 0.
///
///     tightkv::key_distinctness{}.score(ex, view, scores.view());
///
/// Needs keys. Cost: two reads of the keys.
struct key_distinctness {
  template <executor E, view_with_keys V>
  requires reachable_from<V, E>
  void score(E const& ex, V const& view, scores_view<E> out) const { mean_cosine(ex, view.keys, -1.0F, out); }
};
static_assert(scorer<key_distinctness>);

}  // namespace tightkv
