// SPDX-License-Identifier: Apache-2.0
/// How the threads of `lag_scores` share rows and shared memory.
#pragma once

#include <cstddef>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/cuda/block.cuh>
#include <tightkv/cuda/row_tile.cuh>

namespace tightkv::detail {

struct lag_tuning {
  static constexpr int threads = 128;
  static constexpr int warps = threads / warp_size;
  static constexpr int stages = 2;        // tiles: one is looked at while the next arrives
  static constexpr int rows = 64;         // of a tile
  static constexpr int most_lag = 16384;  // whose spreads fit in shared memory
};

/// The threads that share a row. Each has two neighbouring lanes of the row's sums: channels 16 s + 2 m and the next,
/// s = 0, 1, ..., for member m. So it can keep the ranges of its channels in registers.
template <class T>
struct lag_team {
  using unit_type = packet<T, 2 * static_cast<int>(sizeof(T))>;
  static constexpr int unit = unit_type::size;
  static constexpr int threads = lane_sum::lanes / unit;
  static constexpr int in_block = lag_tuning::threads / threads;

  /// Blocks on a processor, by what a thread keeps in registers: of each of its channels the range of the next
  /// partition and that of its own.
  static constexpr int blocks(int steps) {
    int const kept = steps * (2 * unit + 2 * static_cast<int>(sizeof(unit_type)) / 4);
    return kept <= 48 ? 4 : kept <= 64 ? 3 : 2;
  }

  static __device__ int member() { return static_cast<int>(threadIdx.x) % threads; }
  static __device__ int index() { return static_cast<int>(threadIdx.x) / threads; }
  static __device__ int channel(int s) { return s * lane_sum::lanes + member() * unit; }
  /// Pieces of 16 bytes from one row to the next, so that rows that a warp reads together lie in different banks.
  TIGHTKV_HD static int stride_of(int head_dim) {
    int stride = row_tile<T>::pieces_of(head_dim);
    while (stride * 16 % 128 != threads * static_cast<int>(sizeof(unit_type))) ++stride;
    return stride;
  }
  /// Room for a tile, and for joining the ranges of `channels` channels once it has been looked at.
  TIGHTKV_HD static int stage_bytes(int head_dim, int channels) {
    int const tile = lag_tuning::rows * stride_of(head_dim) * 16;
    int const ranges = 2 * found_bytes(channels);
    return tile > ranges ? tile : ranges;
  }

  /// What the teams found in a unit of channels lies side by side, 16 bytes apart from the next unit's; that leaves
  /// neither those who write it nor those who read it at the same banks.
  static constexpr int apart = in_block + 16 / static_cast<int>(sizeof(unit_type));
  TIGHTKV_HD static int found_bytes(int channels) {
    return channels / unit * apart * static_cast<int>(sizeof(unit_type)) + 64;
  }

  /// The sum of a row, of which each thread has two lanes, in all threads of the team. All threads of the warp must
  /// call it.
  static __device__ __forceinline__ float total(packet<float, 8> lane) {
#pragma unroll
    for (int apart = threads / 2; apart > 0; apart /= 2) {
      lane.element[0] += __shfl_xor_sync(all_lanes, lane.element[0], apart);
      lane.element[1] += __shfl_xor_sync(all_lanes, lane.element[1], apart);
    }
    return lane.element[0] + lane.element[1];
  }
};

/// The block's shared memory, behind the tiles.
struct lag_shared {
  int stage_bytes;
  int channels;  // Steps * 16
  int lag;

  TIGHTKV_HD int bytes() const {
    int const floats = 2 * channels + 2 * lag_tuning::warps + lag;
    return lag_tuning::stages * stage_bytes + floats * static_cast<int>(sizeof(float));
  }
  /// A tile.
  template <class T>
  __device__ shared<T> stage(int i) const {
    return dynamic_shared<T>(static_cast<std::size_t>(i * stage_bytes));
  }
  /// What normalises the channels: as `channel_scales`, of the next partition.
  __device__ shared<float> middle() const { return stage<float>(lag_tuning::stages); }
  __device__ shared<float> scale() const { return middle() + channels; }
  /// Of each warp: how many channels take part, and its largest spread.
  __device__ shared<int> counts() const { return shared_as<int>(scale() + channels); }
  __device__ shared<float> largest() const { return shared_as<float>(counts() + lag_tuning::warps); }
  __device__ shared<float> spreads() const { return largest() + lag_tuning::warps; }
};

}  // namespace tightkv::detail
