// SPDX-License-Identifier: Apache-2.0
/// The k-th best of many scores, and how many of its equals are among the k best.
#pragma once

#include <cstdint>
#include <limits>

#include <tightkv/cuda/block.cuh>

namespace tightkv::detail {

/// Larger is better; 0 is NaN.
__device__ inline std::uint32_t ordered(float score) {
  return static_cast<std::uint32_t>(selection_key(score, 0) >> 32);
}

inline constexpr int no_limit = std::numeric_limits<int>::max();

/// Keys above `key` are kept, and of those equal to it the first `ties`.
struct threshold {
  std::uint32_t key;
  int ties;
};

/// Bins of a histogram over the next bits of the keys.
inline constexpr int digit_bits = 11;
inline constexpr int bins = 1 << digit_bits;

/// Shared memory of `find_threshold`.
struct threshold_room {
  static constexpr int words = bins + most_warps + 2;
  shared<int> histogram;
  shared<int> of_warps;
  shared<int> found;

  static __device__ threshold_room at(shared<int> p) { return {p, p + bins, p + (bins + most_warps)}; }
};

/// Adds one to the bin of each lane whose bin is not negative. Scores like to share their leading bits, and atomics on
/// one address queue up: a warp of equal bins adds once.
__device__ inline void count_in_bin(shared<int> histogram, int bin) {
  int const first = __shfl_sync(all_lanes, bin, 0);
  if (__all_sync(all_lanes, bin == first)) {
    if (lane_of_warp() == 0 && bin >= 0) atomicAdd(histogram + bin, warp_size);
  } else if (bin >= 0) {
    atomicAdd(histogram + bin, 1);
  }
}

/// The bin, from the highest, in which the k-th key lies; k becomes its rank within the bin.
__device__ inline int bin_of_rank(threshold_room const& room, int& k) {
  int const threads = static_cast<int>(blockDim.x);
  int const per_thread = bins / threads;  // neighbouring ones, thread 0 has the highest
  int const top = bins - 1 - static_cast<int>(threadIdx.x) * per_thread;
  int mine = 0;
  for (int i = 0; i < per_thread; ++i) mine += static_cast<int>(room.histogram[top - i]);
  int before = mine;  // of the warp up to this thread
  for (int delta = 1; delta < warp_size; delta *= 2) {
    int const other = __shfl_up_sync(all_lanes, before, static_cast<unsigned>(delta));
    if (lane_of_warp() >= delta) before += other;
  }
  if (lane_of_warp() == warp_size - 1) room.of_warps[warp_of_block()] = before;
  __syncthreads();
  for (int w = 0; w < warp_of_block(); ++w) before += static_cast<int>(room.of_warps[w]);
  int above = before - mine;
  if (above < k && k <= before) {  // true in one thread
    int bin = top;
    for (; above + static_cast<int>(room.histogram[bin]) < k; --bin) above += static_cast<int>(room.histogram[bin]);
    room.found[0] = bin;
    room.found[1] = k - above;
  }
  __syncthreads();
  k = room.found[1];
  return room.found[0];
}

/// Of n keys, all between `least` and `most`, the threshold that keeps k; 1 <= k <= n. `key(i)` is called for warps of
/// neighbouring i. Radix select from the highest bit in which keys differ. For all threads of a block, whose number is
/// a power of two.
template <class Key>
__device__ threshold find_threshold(Key const& key, int n, std::uint32_t least, std::uint32_t most, int k,
                                    threshold_room const& room) {
  int const threads = static_cast<int>(blockDim.x);
  int left = least == most ? 0 : 32 - __clz(static_cast<int>(least ^ most));  // bits that are not known yet
  std::uint32_t prefix = left == 32 ? 0 : (most >> left) << left;
  bool first_pass = true;
  while (left > 0) {
    int const digit = left < digit_bits ? left : digit_bits;
    int const shift = left - digit;
    for (int b = static_cast<int>(threadIdx.x); b < bins; b += threads) room.histogram[b] = 0;
    __syncthreads();
    constexpr int at_once = 4;  // keys on their way
    for (int i = static_cast<int>(threadIdx.x); i - lane_of_warp() < n; i += at_once * threads) {
      std::uint32_t x[at_once];
#pragma unroll
      for (int j = 0; j < at_once; ++j) x[j] = i + j * threads < n ? key(i + j * threads) : 0;
#pragma unroll
      for (int j = 0; j < at_once; ++j) {
        bool const counts = i + j * threads < n && (first_pass || x[j] >> left == prefix >> left);
        count_in_bin(room.histogram, counts ? static_cast<int>((x[j] >> shift) & ((1U << digit) - 1U)) : -1);
      }
    }
    __syncthreads();
    int const bin = bin_of_rank(room, k);
    prefix |= static_cast<std::uint32_t>(bin) << shift;
    int const equals = room.histogram[bin];
    __syncthreads();
    if (equals == k) return {prefix, no_limit};  // all of the bin, whatever their other bits
    left = shift;
    first_pass = false;
  }
  return {prefix, k};
}

}  // namespace tightkv::detail
