// SPDX-License-Identifier: Apache-2.0
/// Where the k-th best of many scores lies: its key, digit by digit from the highest.
#pragma once

#include <cstdint>

#include <tightkv/cuda/block.cuh>

namespace tightkv::detail {

/// Larger is better; 0 is NaN. The upper half of `selection_key`, in fewer instructions.
__device__ inline std::uint32_t ordered(float score) {
  auto const bits = bits_as<std::uint32_t>(score + 0.0F);
  auto const sign = static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31);  // in all bits
  std::uint32_t const key = bits ^ (sign | 0x80000000U);
  return score == score ? key : 0;
}

/// The score that no other with a key of at least `key` is below; NaN has none. Saves working out everybody's key.
__device__ inline float least_score(std::uint32_t key) {
  constexpr std::uint32_t of_minus_infinity = 0x007fffffU;  // no key is between NaN's and this
  if (key < of_minus_infinity) key = of_minus_infinity;
  return bits_as<float>((key & 0x80000000U) != 0 ? key & 0x7fffffffU : ~key);
}

/// Keys that agree in all but their lower bits. The threshold is among them.
struct key_bin {
  std::uint32_t low;  // the least of them
  int left;           // bits in which they may differ
  int size;           // how many there are
  int kept;           // how many of them are among the best, one at least

  /// Nothing but the order of tokens distinguishes those that are kept.
  __device__ bool decided() const { return size == kept || left == 0; }
  __device__ bool contains(std::uint32_t key) const { return left == 32 || key - low < 1U << left; }
  /// Keys from this one on are kept, whoever has them.
  __device__ std::uint32_t enough() const { return size == kept ? low : low + (1U << left); }
};

/// The lowest `count` of the bits that are set.
__device__ inline unsigned first_bits(unsigned bits, int count) {
  if (count <= 0) return 0;
  while (__popc(bits) > count) bits &= ~(0x80000000U >> __clz(static_cast<int>(bits)));
  return bits;
}

/// The sum over the lanes up to this one.
__device__ inline int sum_up_to_lane(int x) {
  for (int delta = 1; delta < warp_size; delta *= 2) {
    int const other = __shfl_up_sync(all_lanes, x, static_cast<unsigned>(delta));
    if (lane_of_warp() >= delta) x += other;
  }
  return x;
}

struct share_of_warp {
  int before;  // of the warps before this one
  int all;
};
/// For all threads of the block. `room` has an int per warp, and is free again afterwards.
__device__ inline share_of_warp sum_over_warps(int of_warp, shared<int> room) {
  if (lane_of_warp() == 0) room[warp_of_block()] = of_warp;
  __syncthreads();
  int const x = lane_of_warp() < warps_of_block() ? static_cast<int>(room[lane_of_warp()]) : 0;
  int const before = __reduce_add_sync(all_lanes, lane_of_warp() < warp_of_block() ? x : 0);
  int const all = __reduce_add_sync(all_lanes, x);
  __syncthreads();
  return {before, all};
}

/// How many keys of a bin have which next digit. For all threads of a block, whose number is a power of two.
class digit_counts {
 public:
  /// Bins per thread; the first one at a multiple of 16 bytes.
  __device__ digit_counts(shared<int> bins, int per_thread, shared<int> room)
      : bins_(bins), room_(room), per_thread_(per_thread) {}

  static constexpr int words_of_room = most_warps + 3;

  __device__ void clear() const {
    for (int i = 0; i < per_thread_ / four::size; ++i) {
      shared_as<four>(bins_)[i * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)] = four{};
    }
    __syncthreads();
  }
  __device__ void add(key_bin const& b, std::uint32_t key) const {
    if (b.contains(key)) atomicAdd(bins_ + static_cast<int>((key - b.low) >> shift(b)), 1);
  }
  /// After a barrier.
  __device__ int of_lowest() const { return bins_[0]; }

  /// The part of the bin with the threshold's next digit. After a barrier.
  __device__ key_bin descend(key_bin const& b) const {
    // A warp has neighbouring bins, the first warp the highest.
    int const of_warp = per_thread_ * warp_size;
    int const end = static_cast<int>(bins()) - warp_of_block() * of_warp;
    int mine = 0;
    for (int i = end - of_warp + four::size * lane_of_warp(); i < end; i += four::size * warp_size) {
      mine += sum(shared_as<four>(bins_ + i)[0]);
    }
    int const in_warp = __reduce_add_sync(all_lanes, mine);
    int above = sum_over_warps(in_warp, room_).before;
    if (above < b.kept && b.kept <= above + in_warp) {  // true in one warp
      int bin = end - lane_of_warp() * per_thread_;     // so has a lane, the first one the highest
      int of_lane = 0;
      for (int i = bin - per_thread_; i < bin; i += four::size) of_lane += sum(shared_as<four>(bins_ + i)[0]);
      int const through = above + sum_up_to_lane(of_lane);
      above = through - of_lane;
      if (above < b.kept && b.kept <= through) {  // true in one lane
        int size = bins_[--bin];
        for (; above + size < b.kept; size = bins_[--bin]) above += size;
        found()[0] = bin;
        found()[1] = size;
        found()[2] = b.kept - above;
      }
    }
    __syncthreads();
    int const digit = found()[0];
    int const size = found()[1];
    int const kept = found()[2];
    return {b.low | static_cast<std::uint32_t>(digit) << shift(b), shift(b), size, kept};
  }

 private:
  using four = packet<int, 16>;
  static __device__ int sum(four const& x) { return x.element[0] + x.element[1] + (x.element[2] + x.element[3]); }
  __device__ unsigned bins() const { return static_cast<unsigned>(per_thread_) * blockDim.x; }
  /// Bits below the digit.
  __device__ int shift(key_bin const& b) const {
    int const digit = 31 - __clz(static_cast<int>(bins()));
    return b.left < digit ? 0 : b.left - digit;
  }
  __device__ shared<int> found() const { return room_ + most_warps; }

  shared<int> bins_;
  shared<int> room_;
  int per_thread_;
};

}  // namespace tightkv::detail
