// SPDX-License-Identifier: Apache-2.0
/// `mean_cosine` on a GPU, in two launches: the direction of each head, then the rows held against it.
#pragma once

#include <cmath>
#include <cstddef>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/block.cuh>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/row_tile.cuh>
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

/// Floats of shared memory for a direction: whole steps of 16, so that rows can follow.
TIGHTKV_HD inline int direction_size(int head_dim) {
  return (head_dim + lane_sum::lanes - 1) / lane_sum::lanes * lane_sum::lanes;
}

/// The shared memory of a block: a scale per row, a direction, and a tile of rows.
struct cosine_shared {
  static constexpr int scales = row_tile_tuning::most_rows;
  int head_dim;

  TIGHTKV_HD std::size_t before_rows() const {
    return sizeof(float) * static_cast<std::size_t>(scales + direction_size(head_dim));
  }
  __device__ shared<float> scale() const { return dynamic_shared<float>(); }
  __device__ shared<float> direction() const { return dynamic_shared<float>() + scales; }
};

/// Neighbouring channels that one thread adds up.
template <class T>
using channel_pair = packet<T, 2 * static_cast<int>(sizeof(T))>;

/// Adds the first `count` rows of a tile, each times its scale, to the direction, in order; those whose scale is NaN
/// take no part. For all threads of the block, each of which has two channels.
template <class T>
__device__ void add_unit_rows(row_tile<T> const& tile, int count, cosine_shared const& memory) {
  using pair = channel_pair<T>;
  auto const direction = shared_as<packet<float, 8>>(memory.direction());
  auto const scale = memory.scale();
  int const pairs = (tile.head_dim + 1) / 2;
  for (int c = static_cast<int>(threadIdx.x); c < pairs; c += static_cast<int>(blockDim.x)) {
    auto const rows = shared_as<pair>(tile.data) + c;
    int const stride = tile.stride * (row_tile<T>::piece / 2);
    packet<float, 8> sum = direction[c];
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      pair const x = rows[i * stride];
      float const unit = scale[i];
      if (unit != unit) continue;
      sum.element[0] = fma(element_of(x, 0), unit, sum.element[0]);
      sum.element[1] = fma(element_of(x, 1), unit, sum.element[1]);
    }
    direction[c] = sum;
  }
}

/// A block per block of rows. The last one of a head to finish adds them up, in order.
template <class P>
__global__ void __launch_bounds__(row_tile_tuning::most_rows)
    cosine_directions_kernel(__grid_constant__ P const rows, int first_head, cosine_room room,
                             matrix_view<float, device_memory> out) {
  using T = typename P::value_type;
  int const h = first_head + static_cast<int>(blockIdx.x);
  int const thread = static_cast<int>(threadIdx.x);
  int const threads = static_cast<int>(blockDim.x);
  auto const head = rows.head(h);
  int const begin = static_cast<int>(blockIdx.y) * mean_cosine_fn::block;
  if (begin >= head.tokens()) return;
  int const end = head.tokens() - begin < mean_cosine_fn::block ? head.tokens() : begin + mean_cosine_fn::block;

  cosine_shared const memory{room.head_dim};
  for (int d = thread; d < direction_size(room.head_dim); d += threads) memory.direction()[d] = 0.0F;
  row_tile<T> const tile(dynamic_shared<T>(memory.before_rows()), room.head_dim);
  for (int t = begin; t < end; t += threads) {
    int const count = end - t < threads ? end - t : threads;
    tile.bring(head, t, count);
    if (thread < count) {
      float const scale = inverse_root(tile.sum(thread, add_squares{}));
      memory.scale()[thread] = scale;
      store(&out(h, t + thread), scale);
    }
    __syncthreads();
    add_unit_rows(tile, count, memory);
    __syncthreads();
  }
  for (int d = thread; d < room.head_dim; d += threads) {
    float const sum = memory.direction()[d];
    store(room.of_block(h, static_cast<int>(blockIdx.y)) + d, sum);
  }
  __threadfence();
  __syncthreads();
  auto const last = shared_as<int>(memory.scale());
  int const blocks = (head.tokens() - 1) / mean_cosine_fn::block + 1;
  if (thread == 0) last[0] = atomicAdd(room.finished + h, 1) == blocks - 1 ? 1 : 0;
  __syncthreads();
  if (static_cast<int>(last[0]) == 0) return;
  __threadfence();

  for (int d = thread; d < room.head_dim; d += threads) {
    float sum = 0.0F;
#pragma unroll 8
    for (int b = 0; b < blocks; ++b) sum += load(room.of_block(h, b) + d);
    store(room.direction(h) + d, sum);
  }
  __syncthreads();
  if (thread >= warp_size) return;
  using float_team = row_team<float, 16>;
  float const squares =
      sum_row<float_team>(row<float const>{room.direction(h), room.head_dim}, float_team::index() == 0,
                          [](float sum, int, float x) { return fma(x, x, sum); });
  if (thread == 0) store(room.towards + h, inverse_root(squares));
}

/// A block brings a tile of rows; then each thread holds one against the direction.
template <class P>
__global__ void __launch_bounds__(row_tile_tuning::most_rows)
    cosine_kernel(__grid_constant__ P const rows, int first_head, cosine_room room, float factor,
                  matrix_view<float, device_memory> out) {
  using T = typename P::value_type;
  int const h = first_head + static_cast<int>(blockIdx.x);
  int const threads = static_cast<int>(blockDim.x);
  auto const head = rows.head(h);
  int const begin = static_cast<int>(blockIdx.y) * threads;
  int const left = head.tokens() - begin;
  if (left <= 0) return;
  cosine_shared const memory{room.head_dim};
  row_tile<T> const tile(dynamic_shared<T>(memory.before_rows()), room.head_dim);
  for (int d = static_cast<int>(threadIdx.x); d < direction_size(room.head_dim); d += threads) {
    memory.direction()[d] = d < room.head_dim ? load(room.direction(h) + d) : 0.0F;
  }
  float const towards = load(room.towards + h) * factor;
  tile.bring(head, begin, left < threads ? left : threads);
  int const row = static_cast<int>(threadIdx.x);
  if (row >= left) return;
  float* const score = &out(h, begin + row);
  store(score, load(score) * (tile.sum(row, add_products{memory.direction()}) * towards));
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
    using tile = detail::row_tile<typename P::value_type>;
    int const tile_rows = tile::rows("mean_cosine", rows.head_dim());
    auto const bytes = detail::cosine_shared{rows.head_dim()}.before_rows() +
                       static_cast<std::size_t>(tile_rows * tile::bytes_of_row(rows.head_dim()));
    detail::each_part(
        [&](int first, int count, auto const& part) {
          using rows_type = std::remove_cvref_t<decltype(part)>;
          auto const x = static_cast<unsigned>(count);
          auto const threads = static_cast<unsigned>(tile_rows);
          detail::launch(ex, "mean_cosine", detail::cosine_directions_kernel<rows_type>,
                         {dim3(x, blocks), threads, bytes}, part, first, room, out);
          detail::launch(ex, "mean_cosine", detail::cosine_kernel<rows_type>,
                         {dim3(x, detail::blocks_for(tokens, tile_rows)), threads, bytes}, part, first, room, factor,
                         out);
        },
        rows);
  }
};

}  // namespace tightkv
