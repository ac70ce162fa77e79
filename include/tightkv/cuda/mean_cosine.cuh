// SPDX-License-Identifier: Apache-2.0
/// `mean_cosine` on a GPU, in two launches: the direction of each head, then the rows held against it.
#pragma once

#include <cmath>
#include <cstddef>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/block.cuh>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/row_norms.cuh>
#include <tightkv/ops/mean_cosine.hpp>

namespace tightkv {
namespace detail {

/// What the launches hand on, `head_dim` numbers for each block of rows, then for each head, then one for each head.
struct cosine_room {
  float* of_blocks;
  float* directions;
  float* towards;  // 1 / the direction's length
  int* finished;   // blocks of each head
  int blocks;      // room for each head
  int head_dim;

  __device__ float* of_block(int h, int b) const {
    return of_blocks + (static_cast<std::ptrdiff_t>(h) * blocks + b) * head_dim;
  }
  __device__ float* direction(int h) const { return directions + static_cast<std::ptrdiff_t>(h) * head_dim; }
};

/// Of shared memory, so that rows can follow.
TIGHTKV_HD inline std::size_t direction_bytes(int head_dim) {
  return (sizeof(float) * static_cast<std::size_t>(head_dim) + 127) / 128 * 128;
}

/// The shared memory of a block that sums rows: their scales, their sum, and the rows of all warps.
struct direction_room {
  static constexpr std::size_t scale_bytes = sizeof(float) * mean_cosine_fn::block;

  TIGHTKV_HD static std::size_t before_rows(int head_dim) { return scale_bytes + direction_bytes(head_dim); }
  static __device__ shared<float> scales() { return dynamic_shared<float>(); }
  static __device__ shared<float> sums() { return dynamic_shared<float>(scale_bytes); }
};

/// Adds the unit rows of [begin, begin + count) to `direction_room::sums`, in order, and writes their inverse norms.
/// Each warp brings rows of its own and finds their norms; then each thread adds up channels of all warps' rows.
template <class T, class Head>
__device__ void sum_unit_rows(Head const& head, int begin, int count, int head_dim, float* inverse_norms) {
  using staged = staged_rows<T>;
  using team = typename staged::team;
  auto const scales = direction_room::scales();
  auto const sums = direction_room::sums();
  auto const all_rows = dynamic_shared<T>(direction_room::before_rows(head_dim));
  staged const rows(all_rows, head_dim);
  int const warps = warps_of_block();
  int const threads = static_cast<int>(blockDim.x);
  auto const first_of = [&](int round) { return (round * warps + warp_of_block()) * staged::rows; };
  auto const count_of = [&](int round) {
    int const left = count - first_of(round);
    return left < 0 ? 0 : left < staged::rows ? left : staged::rows;
  };
  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += threads) sums[d] = 0.0F;
  rows.bring(head, begin + first_of(0), count_of(0), 0);
  for (int round = 0; round * warps * staged::rows < count; ++round) {
    int const stage = round % staged_rows_tuning::stages;
    rows.bring(head, begin + first_of(round + 1), count_of(round + 1), (round + 1) % staged_rows_tuning::stages);
    wait_for_all_but<1>();
    __syncwarp();
    int const row = team::index() % team::per_warp;
    bool const there = row < count_of(round);
    float const scale = inverse_root(rows.sum(stage, there, add_square{}));
    if (there && team::member() == 0) {
      scales[warp_of_block() * staged::rows + row] = scale;
      store(inverse_norms + begin + first_of(round) + row, scale);
    }
    __syncthreads();
    int const left = count - round * warps * staged::rows;
    for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += threads) {
      float sum = sums[d];
      for (int i = 0; i < left && i < warps * staged::rows; ++i) {
        float const unit = scales[i];
        int const of_warp = i / staged::rows * staged_rows_tuning::stages * staged::rows;
        T const x = all_rows[(of_warp + stage * staged::rows + i % staged::rows) * rows.stride + d];
        if (unit == unit) sum = fma(to_float(x), unit, sum);
      }
      sums[d] = sum;
    }
    __syncthreads();
  }
}

/// A block per block of rows. The last one of a head to finish adds them up, in order.
template <class P>
__global__ void __launch_bounds__(staged_rows_tuning::most_warps* warp_size)
    cosine_directions_kernel(__grid_constant__ P const rows, int first_head, cosine_room room,
                             matrix_view<float, device_memory> out) {
  int const h = first_head + static_cast<int>(blockIdx.x);
  int const threads = static_cast<int>(blockDim.x);
  auto const head = rows.head(h);
  int const begin = static_cast<int>(blockIdx.y) * mean_cosine_fn::block;
  if (begin >= head.tokens()) return;
  int const count = head.tokens() - begin < mean_cosine_fn::block ? head.tokens() - begin : mean_cosine_fn::block;
  sum_unit_rows<typename P::value_type>(head, begin, count, room.head_dim, out.row(h));
  for (int d = static_cast<int>(threadIdx.x); d < room.head_dim; d += threads) {
    float const sum = direction_room::sums()[d];
    store(room.of_block(h, static_cast<int>(blockIdx.y)) + d, sum);
  }
  __threadfence();
  __syncthreads();
  auto const last = shared_as<int>(direction_room::scales());
  int const blocks = (head.tokens() - 1) / mean_cosine_fn::block + 1;
  if (threadIdx.x == 0) last[0] = atomicAdd(room.finished + h, 1) == blocks - 1 ? 1 : 0;
  __syncthreads();
  if (static_cast<int>(last[0]) == 0) return;
  __threadfence();

  for (int d = static_cast<int>(threadIdx.x); d < room.head_dim; d += threads) {
    float sum = 0.0F;
    for (int b = 0; b < blocks; ++b) sum += load(room.of_block(h, b) + d);
    store(room.direction(h) + d, sum);
  }
  __syncthreads();
  using float_team = row_team<float, 16>;
  float const squares =
      sum_row<float_team>(row<float const>{room.direction(h), room.head_dim}, float_team::index() == 0, add_square{});
  if (threadIdx.x == 0) store(room.towards + h, inverse_root(squares));
}

struct add_dot {
  shared<float> with;
  __device__ float operator()(float sum, int d, float x) const {
    float const y = with[d];
    return fma(x, y, sum);
  }
};

template <class P>
__global__ void __launch_bounds__(staged_rows_tuning::most_warps* warp_size)
    cosine_kernel(__grid_constant__ P const rows, int first_head, cosine_room room, float factor,
                  matrix_view<float, device_memory> out) {
  using T = typename P::value_type;
  int const h = first_head + static_cast<int>(blockIdx.x);
  auto const direction = dynamic_shared<float>();
  for (int d = static_cast<int>(threadIdx.x); d < room.head_dim; d += static_cast<int>(blockDim.x)) {
    direction[d] = load(room.direction(h) + d);
  }
  __syncthreads();
  float const towards = load(room.towards + h) * factor;
  staged_rows<T> const staged(dynamic_shared<T>(direction_bytes(room.head_dim)), room.head_dim);
  sum_staged_rows(staged, rows.head(h), add_dot{direction}, [&](int t, float dot, bool writes) {
    if (writes) store(&out(h, t), load(&out(h, t)) * (dot * towards));
  });
}

}  // namespace detail

template <>
struct kernel<mean_cosine_fn, cuda> {
  template <class P>
  static void run(cuda const& ex, P const& rows, float factor, scores_view<cuda> out) {
    int const tokens = longest(rows);
    if (tokens == 0) return;
    auto const heads = static_cast<std::size_t>(rows.heads());
    auto const head_dim = static_cast<std::size_t>(rows.head_dim());
    auto const blocks = detail::blocks_for(tokens, mean_cosine_fn::block);
    detail::device_array<float> const of_blocks(ex, heads * blocks * head_dim);
    detail::device_array<float> const directions(ex, heads * head_dim);
    detail::device_array<float> const towards(ex, heads);
    detail::device_array<int> const finished(ex, heads);
    detail::set_bytes(ex, finished.data(), 0, finished.bytes());
    detail::cosine_room const room{of_blocks.data(), directions.data(),        towards.data(),
                                   finished.data(),  static_cast<int>(blocks), rows.head_dim()};
    detail::each_part(
        [&](int first, int count, auto const& part) {
          using rows_type = std::remove_cvref_t<decltype(part)>;
          using staged = detail::staged_rows<typename P::value_type>;
          int const warps = staged::warps("mean_cosine", rows.head_dim());
          auto const x = static_cast<unsigned>(count);
          auto const threads = static_cast<unsigned>(warps * detail::warp_size);
          auto const row_bytes = static_cast<std::size_t>(warps * staged::bytes_of_warp(rows.head_dim()));
          detail::launch(ex, "mean_cosine", detail::cosine_directions_kernel<rows_type>,
                         {dim3(x, blocks), threads, detail::direction_room::before_rows(rows.head_dim()) + row_bytes},
                         part, first, room, out);
          detail::launch(ex, "mean_cosine", detail::cosine_kernel<rows_type>,
                         {dim3(x, detail::staged_blocks<typename P::value_type>(tokens, warps)), threads,
                          detail::direction_bytes(rows.head_dim()) + row_bytes},
                         part, first, room, factor, out);
        },
        rows);
  }
};

}  // namespace tightkv
