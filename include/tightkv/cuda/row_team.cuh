// SPDX-License-Identifier: Apache-2.0
/// Threads that share a row, so that it is summed in the order that `core/arithmetic.hpp` specifies.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/cuda/memory.cuh>
#include <tightkv/view/row.hpp>

namespace tightkv::detail {

inline constexpr unsigned all_lanes = 0xffffffffU;
inline constexpr int warp_size = 32;
inline constexpr float infinite = std::numeric_limits<float>::infinity();

/// Each thread of a team has `width` neighbouring ones of the 16 lanes of a sum: elements [16 s + width m, + width) of
/// the row for member m and s = 0, 1, ... Teams are neighbouring threads of a warp.
template <class T, int Bytes>
struct row_team {
  using packet_type = packet<T, Bytes>;
  static constexpr int width = packet_type::size;
  static constexpr int threads = lane_sum::lanes / width;
  static constexpr int per_warp = warp_size / threads;

  static __device__ int member() { return static_cast<int>(threadIdx.x) % threads; }
  /// Which team of the block this is.
  static __device__ int index() { return static_cast<int>(threadIdx.x) / threads; }

  /// Whether `size` elements from `data` on can be moved `Bytes` at a time.
  static __device__ bool aligned(T const* data, int size) {
    return size % width == 0 && reinterpret_cast<std::uintptr_t>(data) % Bytes == 0;
  }

  /// The elements from `first` on; zeros past the row's end. One access where the row allows it.
  template <class Element>
  static __device__ __forceinline__ packet_type read(row<Element> const& r, int first) {
    if (aligned(r.data, r.size)) {
      return first < r.size ? load_as<packet_type>(r.data + first) : packet_type{};
    }
    return read_singly(r, first);
  }
  template <class Row>
  static __device__ __forceinline__ packet_type read(Row const& r, int first) {
    return read_singly(r, first);
  }

  /// Begins to bring what `read` returns to shared memory, as `begin_copy`.
  template <class Element>
  static __device__ __forceinline__ void bring(row<Element> const& r, int first, shared<T> to) {
    static_assert(Bytes == 16);
    if (aligned(r.data, r.size)) return begin_copy<T>(to, r.data + first);
    shared_as<packet_type>(to)[0] = read_singly(r, first);
  }
  template <class Row>
  static __device__ __forceinline__ void bring(Row const& r, int first, shared<T> to) {
    shared_as<packet_type>(to)[0] = read_singly(r, first);
  }

 private:
  template <class Row>
  static __device__ __forceinline__ packet_type read_singly(Row const& r, int first) {
    packet_type p{};
#pragma unroll
    for (int i = 0; i < width; ++i) {
      if (first + i < r.size) p.element[i] = load(&r[first + i]);
    }
    return p;
  }
};

/// A thread's share of a `lane_sum`.
template <class Team>
struct team_sum {
  float lane[Team::width] = {};

  /// The sum, in all threads of the team. All threads of the warp must call it.
  __device__ __forceinline__ float total() {
    constexpr int width = Team::width;
#pragma unroll
    for (int half_width = lane_sum::lanes / 2; half_width >= width; half_width /= 2) {
#pragma unroll
      for (int i = 0; i < width; ++i) lane[i] += __shfl_xor_sync(all_lanes, lane[i], half_width / width);
    }
#pragma unroll
    for (int half_width = width / 2; half_width > 0; half_width /= 2) {
#pragma unroll
      for (int i = 0; i < half_width; ++i) lane[i] += lane[i + half_width];
    }
    return lane[0];
  }
};

/// Calls `add(sum, d, x)` for this thread's elements of a row, in order, and returns the total over the team.
template <class Team, class Row, class Add>
__device__ __forceinline__ float sum_row(Row const& r, bool there, Add const& add) {
  constexpr int at_once = 4;  // loads in flight
  team_sum<Team> sum;
  int const begin = Team::member() * Team::width;
  for (int first = begin; there && first < r.size; first += at_once * lane_sum::lanes) {
    typename Team::packet_type p[at_once];
#pragma unroll
    for (int s = 0; s < at_once; ++s) p[s] = Team::read(r, first + s * lane_sum::lanes);
#pragma unroll
    for (int s = 0; s < at_once; ++s) {
#pragma unroll
      for (int i = 0; i < Team::width; ++i) {
        int const d = first + s * lane_sum::lanes + i;
        if (d < r.size) sum.lane[i] = add(sum.lane[i], d, to_float(p[s].element[i]));
      }
    }
  }
  return sum.total();
}

}  // namespace tightkv::detail
