// SPDX-License-Identifier: Apache-2.0
/// Keeps tokens that differ from the tokens that follow them.
#pragma once

#include <memory_resource>
#include <vector>

#include <tightkv/ops/lag_scores.hpp>
#include <tightkv/scorers/concept.hpp>

namespace tightkv {

/// Each partition of `lag` tokens is normalised by the range of the next one; a token scores the softmax, within its
/// partition, of how unevenly its channels then lie, for the key and for the value (`lag_scores` has the formula). The
/// first `sink` tokens and the last whole partition with what follows are not judged. Liang et al., LagKV,
/// arXiv:2504.04704.
///
///     tightkv::lag_relative{.lag = 128, .sink = 16}.score(ex, view, scores.view());
///
/// Needs keys, and values unless `value_weight` is 0. Cost: one read of keys and values at best.
struct lag_relative {
  int lag = 128;
  int sink = 16;
  float value_weight = 1.0F;

  template <executor E, view_with_keys V>
  requires reachable_from<V, E>
  void score(E const& ex, V const& view, scores_view<E> out) const {
    std::pmr::vector<int> const first(static_cast<std::size_t>(view.heads()), sink, ex.resource());
    lag_scores(ex, view, {.partitions = {.first = first, .lag = lag}, .value_weight = value_weight}, out);
  }
};
static_assert(scorer<lag_relative>);

}  // namespace tightkv
