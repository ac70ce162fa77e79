// SPDX-License-Identifier: Apache-2.0
/// What the threads of a block work out together.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tightkv/cuda/row_team.cuh>

namespace tightkv::detail {

inline constexpr int most_warps = 32;

__device__ inline int lane_of_warp() { return static_cast<int>(threadIdx.x) % warp_size; }
__device__ inline int warp_of_block() { return static_cast<int>(threadIdx.x) / warp_size; }
__device__ inline int warps_of_block() { return static_cast<int>(blockDim.x) / warp_size; }
__device__ inline unsigned lanes_before() { return (1U << lane_of_warp()) - 1U; }

struct sum_of {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct least_of {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};
struct most_of {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

/// Of all lanes of the warp, in every one of them.
template <class T, class Join>
__device__ T over_warp(T x, Join const& join) {
#pragma unroll
  for (int other = warp_size / 2; other > 0; other /= 2) x = join(x, __shfl_xor_sync(all_lanes, x, other));
  return x;
}

/// Of all threads of the block, in every one of them. `room` has a T per warp, and is free again afterwards.
template <class T, class Join>
__device__ T over_block(T x, Join const& join, shared<T> room) {
  x = over_warp(x, join);
  if (lane_of_warp() == 0) room[warp_of_block()] = x;
  __syncthreads();
  T all = room[0];
  for (int w = 1; w < warps_of_block(); ++w) {
    T const y = room[w];
    all = join(all, y);
  }
  __syncthreads();
  return all;
}

}  // namespace tightkv::detail
