// SPDX-License-Identifier: Apache-2.0
/// Keeps the best tokens of every partition.
#pragma once

#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/core/matrix.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/ops/select_partitions.hpp>

namespace tightkv {

/// Of each judged partition the best `quota` tokens stay; all tokens outside them stay too.
struct partition_top_k {
  int quota = 0;

  template <executor E>
  basic_plan<typename E::memory> select(E const& ex, matrix_view<float const, typename E::memory> scores,
                                        std::span<int const> lengths, lag_partitions const& partitions) const {
    auto p = room(ex, lengths, partitions);
    select_partitions(ex, scores, {.partitions = partitions, .quota = quota}, p);
    return p;
  }

  /// Room for what `select` answers, all of it to be filled in.
  template <executor E>
  basic_plan<typename E::memory> room(E const& ex, std::span<int const> lengths,
                                      lag_partitions const& partitions) const {
    select_partitions_fn::parameters const s{.partitions = partitions, .quota = quota};
    std::pmr::vector<int> kept(ex.resource());
    for (std::size_t h = 0; h < lengths.size(); ++h)
      kept.push_back(select_partitions.kept(s, static_cast<int>(h), lengths[h]));
    return make_plan(ex, lengths, kept);
  }
};

}  // namespace tightkv
