// SPDX-License-Identifier: Apache-2.0
/// `select_partitions` on a GPU: a warp per partition.
#pragma once

#include <algorithm>
#include <cstddef>

#include <tightkv/cuda/select_top_k.cuh>
#include <tightkv/ops/select_partitions.hpp>

namespace tightkv {
namespace detail {

struct select_partitions_tuning {
  static constexpr int warps = 4;
  static constexpr int in_shared = 1024;  // up to this lag, keys are read once
};

/// As `find_threshold`, for the threads of one warp: bit by bit, since the keys are few.
template <class Key>
__device__ threshold find_threshold_of_warp(Key const& key, int n, int k) {
  auto const count = [&](std::uint32_t limit) {  // keys of at least that
    int found = 0;
    for (int i = lane_of_warp(); i - lane_of_warp() < n; i += warp_size) {
      found += __popc(__ballot_sync(all_lanes, i < n && key(i) >= limit));
    }
    return found;
  };
  std::uint32_t least = ~0U;
  std::uint32_t most = 0;
  for (int i = lane_of_warp(); i < n; i += warp_size) {
    std::uint32_t const x = key(i);
    least = x < least ? x : least;
    most = x > most ? x : most;
  }
  least = over_warp(least, least_of{});
  most = over_warp(most, most_of{});
  int left = least == most ? 0 : 32 - __clz(static_cast<int>(least ^ most));
  std::uint32_t limit = left == 32 ? 0 : (most >> left) << left;
  while (left > 0) {
    std::uint32_t const higher = limit | 1U << --left;
    int const found = count(higher);
    if (found >= k) limit = higher;
    if (found == k) return {limit, no_limit};
  }
  return {limit, limit == ~0U ? k : k - count(limit + 1)};
}

template <class Range>
__global__ void __launch_bounds__(select_partitions_tuning::warps* warp_size)
    select_partitions_kernel(matrix_view<float const, device_memory> scores, per_head<Range> firsts, int lag, int quota,
                             device_plan p) {
  int const h = static_cast<int>(blockIdx.x);
  int const first = firsts[h];
  int const tokens = p.before[h];
  int const judged = tokens - first < 2 * lag ? 0 : (tokens - first) / lag - 1;
  int* const kept = p.kept_of(h);
  if (blockIdx.y == 0) {
    int const begin = judged == 0 ? tokens : first;
    int const end = judged == 0 ? tokens : first + judged * lag;
    write_all(kept, 0, begin);
    write_all(kept + begin + judged * quota, end, tokens - end);
  }
  int const partition = static_cast<int>(blockIdx.y) * select_partitions_tuning::warps + warp_of_block();
  if (partition >= judged) return;  // whole warps leave

  int const begin = first + partition * lag;
  bool const near = lag <= select_partitions_tuning::in_shared;
  key_source const key{dynamic_shared<std::uint32_t>() + (near ? warp_of_block() * lag : 0), scores.row(h) + begin,
                       near};
  int nans = 0;
  for (int i = lane_of_warp(); i < lag; i += warp_size) {
    std::uint32_t const x = ordered(load(key.far + i));
    if (near) key.near[i] = x;
    nans += x == 0 ? 1 : 0;
  }
  __syncwarp();
  nans = over_warp(nans, sum_of{});
  if (lane_of_warp() == 0 && nans > 0) atomicAdd(p.nans + h, nans);
  if (quota == 0) return;
  auto const limit = find_threshold_of_warp(key, lag, quota);
  int* const out = kept + first + partition * quota;
  int above = 0;
  int equal = 0;
  for (int i = lane_of_warp(); i - lane_of_warp() < lag; i += warp_size) {
    std::uint32_t const x = i < lag ? key(i) : 0;
    bool const is_above = i < lag && x > limit.key;
    bool const is_equal = i < lag && x == limit.key;
    unsigned const all_above = __ballot_sync(all_lanes, is_above);
    unsigned const all_equal = __ballot_sync(all_lanes, is_equal);
    int const better = above + __popc(all_above & lanes_before());
    int const ties = equal + __popc(all_equal & lanes_before());
    int const ties_kept = ties < limit.ties ? ties : limit.ties;
    if (is_above || (is_equal && ties < limit.ties)) store(out + better + ties_kept, begin + i);
    above += __popc(all_above);
    equal += __popc(all_equal);
  }
}

}  // namespace detail

template <>
struct kernel<select_partitions_fn, cuda> {
  static void run(cuda const& ex, matrix_view<float const, device_memory> scores,
                  select_partitions_fn::parameters const& s, basic_plan<device_memory>& p) {
    using tuning = detail::select_partitions_tuning;
    if (p.heads() == 0) return;
    int const lag = s.partitions.lag;
    int most = 0;
    for (int h = 0; h < p.heads(); ++h) most = std::max(most, s.partitions.judged(h, p.before(h)));
    auto const first = detail::table_of(ex, s.partitions.first);
    std::size_t const keys = lag <= tuning::in_shared ? static_cast<std::size_t>(tuning::warps * lag) : 0;
    dim3 const grid(static_cast<unsigned>(p.heads()), std::max(1U, detail::blocks_for(most, tuning::warps)));
    detail::launch(ex, "select_partitions", detail::select_partitions_kernel<int>,
                   {grid, tuning::warps * detail::warp_size, sizeof(std::uint32_t) * keys}, scores, first.view(), lag,
                   s.quota, p.device());
  }
};

}  // namespace tightkv
