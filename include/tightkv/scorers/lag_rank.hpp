// SPDX-License-Identifier: Apache-2.0
/// LagKV's scores made comparable across partitions: ranks within each.
#pragma once

#include <algorithm>
#include <memory_resource>
#include <vector>

#include <tightkv/ops/rank_tokens.hpp>
#include <tightkv/scorers/lag_relative.hpp>

namespace tightkv {

/// score = rank of `lag_relative`'s score within its partition, over the partition's length: 0 for the worst token,
/// (lag - 1) / lag for the best. This is what NVIDIA's kvpress does with LagKV under one budget for the whole sequence.
///
/// Needs keys and values. Cost: as `lag_relative`, and a sort of each partition.
struct lag_rank {
  int lag = 128;
  int sink = 4;

  template <executor E, view_with_values V>
  requires reachable_from<V, E>
  void score(E const& ex, V const& view, scores_view<E> out) const {
    lag_relative{.lag = lag, .sink = sink}.score(ex, view, out);
    std::pmr::vector<token_range> judged(ex.resource());
    for (int h = 0; h < view.heads(); ++h) judged.push_back(judged_tokens(view.tokens(h)));
    rank_tokens(ex, out, {.ranges = judged, .block = lag, .divisor = static_cast<float>(lag)});
  }

  /// The whole partitions that have another after them.
  token_range judged_tokens(int tokens) const noexcept {
    int const partitions = std::max(0, (tokens - sink) / lag - 1);
    if (partitions == 0) return {};
    return {sink, sink + partitions * lag};
  }
};
static_assert(scorer<lag_rank>);

}  // namespace tightkv
