// SPDX-License-Identifier: Apache-2.0
/// `select_top_k` on a GPU: a block per head finds the threshold, then writes the kept tokens in order.
#pragma once

#include <algorithm>
#include <cstddef>

#include <tightkv/cuda/plan.cuh>
#include <tightkv/cuda/threshold.cuh>
#include <tightkv/ops/select_top_k.hpp>

namespace tightkv {
namespace detail {

struct select_tuning {
  static constexpr int most_threads = 1024;
  static constexpr int few_threads = 256;
  static constexpr int tokens_for_many = 8192;
  static constexpr int tokens_per_lane = 4;  // between barriers, when writing
};

/// The scores of a head's judged tokens as keys: kept in shared memory where they fit, read again where not.
struct key_source {
  shared<std::uint32_t> near;
  float const* far;
  bool in_shared;

  __device__ std::uint32_t operator()(int i) const {
    if (!in_shared) return ordered(load(far + i));
    std::uint32_t const x = near[i];
    return x;
  }
};

/// Writes the numbers `begin + i` of the kept i of [0, n), ascending. `room` has two ints per warp.
template <class Key>
__device__ void write_kept(Key const& key, int n, threshold const& limit, int begin, int* out, shared<int> room) {
  constexpr int rounds = select_tuning::tokens_per_lane;
  int const tokens_at_once = static_cast<int>(blockDim.x) * rounds;
  int above_before = 0;
  int equal_before = 0;
  for (int base = 0, turn = 0; base < n; base += tokens_at_once, turn ^= 1) {
    int const mine = base + warp_of_block() * warp_size * rounds + lane_of_warp();
    unsigned above[rounds];
    unsigned equal[rounds];
    int of_warp = 0;  // above in the lower half, equal in the upper
    std::uint32_t x[rounds];
#pragma unroll
    for (int r = 0; r < rounds; ++r) x[r] = mine + r * warp_size < n ? key(mine + r * warp_size) : 0;
#pragma unroll
    for (int r = 0; r < rounds; ++r) {
      int const i = mine + r * warp_size;
      above[r] = __ballot_sync(all_lanes, i < n && x[r] > limit.key);
      equal[r] = __ballot_sync(all_lanes, i < n && x[r] == limit.key);
      of_warp += __popc(above[r]) + (__popc(equal[r]) << 16);
    }
    auto const totals = room + turn * most_warps;
    if (lane_of_warp() == 0) totals[warp_of_block()] = of_warp;
    __syncthreads();
    int const of_lane = lane_of_warp() < warps_of_block() ? static_cast<int>(totals[lane_of_warp()]) : 0;
    int const before = over_warp(lane_of_warp() < warp_of_block() ? of_lane : 0, sum_of{});
    int const all = over_warp(of_lane, sum_of{});
    int above_here = above_before + (before & 0xffff);
    int equal_here = equal_before + (before >> 16);
#pragma unroll
    for (int r = 0; r < rounds; ++r) {
      int const better = above_here + __popc(above[r] & lanes_before());
      int const ties = equal_here + __popc(equal[r] & lanes_before());
      bool const is_above = (above[r] >> lane_of_warp() & 1U) != 0;
      bool const is_equal = (equal[r] >> lane_of_warp() & 1U) != 0;
      int const ties_kept = ties < limit.ties ? ties : limit.ties;
      if (is_above || (is_equal && ties < limit.ties)) store(out + better + ties_kept, begin + mine + r * warp_size);
      above_here += __popc(above[r]);
      equal_here += __popc(equal[r]);
    }
    above_before += all & 0xffff;
    equal_before += all >> 16;
  }
}

/// out[i] = begin + i for i in [0, n). For all threads of the block.
__device__ inline void write_all(int* out, int begin, int n) {
  for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) store(out + i, begin + i);
}

template <class Range>
__global__ void __launch_bounds__(select_tuning::most_threads, 1)
    select_top_k_kernel(matrix_view<float const, device_memory> scores, per_head<Range> ranges, device_plan p,
                        int keys_in_shared) {
  int const h = static_cast<int>(blockIdx.x);
  auto const range = ranges[h];
  int const n = range.end - range.begin;
  int const tokens = p.before[h];
  int const count = p.after[h] - (tokens - n);
  int* const kept = p.kept_of(h);
  write_all(kept, 0, range.begin);
  write_all(kept + range.begin + count, range.end, tokens - range.end);

  auto const words = dynamic_shared<int>();
  auto const room = threshold_room::at(words);
  auto const totals = words + threshold_room::words;
  key_source const key{shared_as<std::uint32_t>(totals + 2 * most_warps), scores.row(h) + range.begin,
                       n <= keys_in_shared};
  std::uint32_t least = ~0U;
  std::uint32_t most = 0;
  int nans = 0;
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) {
    std::uint32_t const x = ordered(load(key.far + i));
    if (key.in_shared) key.near[i] = x;
    least = x < least ? x : least;
    most = x > most ? x : most;
    nans += x == 0 ? 1 : 0;
  }
  nans = over_block(nans, sum_of{}, totals);
  if (threadIdx.x == 0) store(p.nans + h, nans);
  if (count == 0) return;
  auto const of_warps = shared_as<std::uint32_t>(totals);
  least = over_block(least, least_of{}, of_warps);
  most = over_block(most, most_of{}, of_warps);
  auto const limit = find_threshold(key, n, least, most, count, room);
  write_kept(key, n, limit, range.begin, kept + range.begin, totals);
}

/// The most shared memory that a block can have here.
inline std::size_t most_shared_bytes() {
  int device = 0;
  int bytes = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking for shared memory");
  return static_cast<std::size_t>(bytes);
}

}  // namespace detail

template <>
struct kernel<select_top_k_fn, cuda> {
  static void run(cuda const& ex, matrix_view<float const, device_memory> scores, std::span<token_range const> ranges,
                  basic_plan<device_memory>& p) {
    if (p.heads() == 0) return;
    int longest_range = 0;
    for (auto const& r : ranges) longest_range = std::max(longest_range, r.size());
    auto const table = detail::table_of(ex, ranges);
    std::size_t const words = detail::threshold_room::words + 2 * detail::most_warps;
    std::size_t const room = detail::only_measures(ex) ? 0 : detail::most_shared_bytes() / sizeof(int) - words;
    auto const keys = static_cast<std::size_t>(longest_range) <= room ? static_cast<std::size_t>(longest_range) : 0;
    bool const many = longest_range >= detail::select_tuning::tokens_for_many;
    int const threads = many ? detail::select_tuning::most_threads : detail::select_tuning::few_threads;
    detail::launch(ex, "select_top_k", detail::select_top_k_kernel<token_range>,
                   {static_cast<unsigned>(p.heads()), static_cast<unsigned>(threads), sizeof(int) * (words + keys)},
                   scores, table.view(), p.device(), static_cast<int>(keys));
  }
};

}  // namespace tightkv
