// SPDX-License-Identifier: Apache-2.0
/// `gram_update` on a GPU: which tokens count, products of tiles of channels over slices of the tokens, and the slices
/// put together in order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/block.cuh>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/memory.cuh>
#include <tightkv/ops/gram_update.hpp>

namespace tightkv {
namespace detail {

struct gram_tuning {
  static constexpr int tile = 64;    // channels
  static constexpr int tokens = 16;  // that lie in shared memory at a time
  static constexpr int side = 16;    // threads along either
  static constexpr int threads = side * side;
  static constexpr int each = tile / side;
  static constexpr int blocks = 264;        // that a GPU should have at once, about
  static constexpr int least_tokens = 256;  // of a slice
  static constexpr std::size_t shared_bytes = sizeof(double) * 2 * tokens * tile;
  static constexpr int row_of_sums = tile + 1;  // a column's sums lie in different banks
  static constexpr std::size_t joined_bytes = sizeof(double) * tile * row_of_sums;
};

/// What the launches hand on.
struct gram_room {
  int* counts = nullptr;       // of each token: 1 where it counts
  int* added = nullptr;        // how many do, and how many do not
  double* products = nullptr;  // [slice][pair of tiles][tile][tile]
  double* sums = nullptr;      // [slice][tiles][tile]
  int size = 0;                // channels
  int tokens = 0;              // without those skipped
  int skip = 0;
  int tokens_of_slice = 0;
  int slices = 0;

  TIGHTKV_HD int tiles() const { return (size + gram_tuning::tile - 1) / gram_tuning::tile; }
  TIGHTKV_HD int pairs() const { return tiles() * (tiles() + 1) / 2; }
  __device__ double* product(int slice, int pair) const {
    return products + (static_cast<std::ptrdiff_t>(slice) * pairs() + pair) * gram_tuning::tile * gram_tuning::tile;
  }
  __device__ double* sum(int slice, int tile) const {
    return sums + (static_cast<std::ptrdiff_t>(slice) * tiles() + tile) * gram_tuning::tile;
  }
};

/// Tiles of the upper half of the matrix: pair 0 is (0, 0), then (0, 1), (1, 1), (0, 2), ...
struct tile_pair {
  int a = 0;
  int b = 0;

  __device__ explicit tile_pair(int number) {
    while (number > b) number -= ++b;
    a = number;
  }
};

/// A warp per token.
template <class P>
__global__ void __launch_bounds__(gram_tuning::threads)
    count_tokens_kernel(__grid_constant__ P const rows, head_range group, gram_room room) {
  int const i = static_cast<int>(blockIdx.x) * warps_of_block() + warp_of_block();
  if (i >= room.tokens) return;
  int const head_dim = rows.head_dim();
  bool ok = true;
  for (int h = group.first; h < group.first + group.heads; ++h) {
    auto const r = rows.head(h)[room.skip + i];
    for (int d = lane_of_warp(); d < head_dim; d += warp_size) ok = ok && is_finite(to_float(load(&r[d])));
  }
  bool const all = __all_sync(all_lanes, ok) != 0;
  if (lane_of_warp() != 0) return;
  store(room.counts + i, all ? 1 : 0);
  atomicAdd(room.added + (all ? 0 : 1), 1);
}

/// Channels [tile, + 64) of some tokens, in double; zeros where there are none, or where a token does not count.
template <class P>
__device__ void stage_tokens(P const& rows, head_range const& group, gram_room const& room, int tile, int first,
                             int end, shared<double> to) {
  using tuning = gram_tuning;
  for (int i = static_cast<int>(threadIdx.x); i < tuning::tokens * tuning::tile; i += tuning::threads) {
    int const t = first + i / tuning::tile;
    int const channel = tile * tuning::tile + i % tuning::tile;
    double x = 0.0;
    if (t < end && channel < room.size && load(room.counts + t) != 0) {
      int const h = group.first + channel / rows.head_dim();
      x = static_cast<double>(to_float(load(&rows.head(h)[room.skip + t][channel % rows.head_dim()])));
    }
    to[i] = x;
  }
}

/// A block per pair of tiles and slice of the tokens; a thread has 4 x 4 of its sums, each in the order of the tokens.
template <class P>
__global__ void __launch_bounds__(gram_tuning::threads)
    gram_tiles_kernel(__grid_constant__ P const rows, head_range group, gram_room room) {
  using tuning = gram_tuning;
  tile_pair const pair(static_cast<int>(blockIdx.x));
  int const slice = static_cast<int>(blockIdx.y);
  int const begin = slice * room.tokens_of_slice;
  int const end = begin + room.tokens_of_slice < room.tokens ? begin + room.tokens_of_slice : room.tokens;
  auto const x = dynamic_shared<double>();  // [token][channel]
  auto const y = pair.a == pair.b ? x : x + tuning::tokens * tuning::tile;
  int const thread = static_cast<int>(threadIdx.x);
  int const a = thread / tuning::side * tuning::each;
  int const b = thread % tuning::side;

  double sum[tuning::each][tuning::each] = {};
  double linear = 0.0;
  for (int first = begin; first < end; first += tuning::tokens) {
    __syncthreads();
    stage_tokens(rows, group, room, pair.a, first, end, x);
    if (pair.a != pair.b) stage_tokens(rows, group, room, pair.b, first, end, y);
    __syncthreads();
    for (int t = 0; t < tuning::tokens; ++t) {
      double p[tuning::each];
      double q[tuning::each];
#pragma unroll
      for (int i = 0; i < tuning::each; ++i) {
        p[i] = x[t * tuning::tile + a + i];
        q[i] = y[t * tuning::tile + b + tuning::side * i];
      }
#pragma unroll
      for (int i = 0; i < tuning::each; ++i) {
#pragma unroll
        for (int j = 0; j < tuning::each; ++j) sum[i][j] += p[i] * q[j];  // exact products: contracted or not
      }
      if (pair.a == pair.b && thread < tuning::tile) linear += static_cast<double>(x[t * tuning::tile + thread]);
    }
  }
  double* const to = room.product(slice, static_cast<int>(blockIdx.x));
#pragma unroll
  for (int i = 0; i < tuning::each; ++i) {
#pragma unroll
    for (int j = 0; j < tuning::each; ++j) store(to + (a + i) * tuning::tile + b + tuning::side * j, sum[i][j]);
  }
  if (pair.a == pair.b && thread < tuning::tile) store(room.sum(slice, pair.a) + thread, linear);
}

/// A block per pair of tiles adds its slices to the caller's sums, on both sides of the diagonal; the first one adds
/// what was counted.
template <class Room>
__global__ void __launch_bounds__(gram_tuning::threads) join_slices_kernel(Room room, gram_view<device_memory> out) {
  using tuning = gram_tuning;
  int const number = static_cast<int>(blockIdx.x);
  if (number == 0 && threadIdx.x == 0) {
    store(&out.counted->added, load(&out.counted->added) + load(room.added));
    store(&out.counted->not_finite, load(&out.counted->not_finite) + load(room.added + 1));
  }
  tile_pair const pair(number);
  auto const tile = dynamic_shared<double>();
  int const top = pair.a * tuning::tile;
  int const left = pair.b * tuning::tile;
  auto const for_each_product = [&](auto const& f) {
    for (int i = static_cast<int>(threadIdx.x); i < tuning::tile * tuning::tile; i += tuning::threads) {
      f(i / tuning::tile, i % tuning::tile);
    }
  };
  for_each_product([&](int i, int j) {
    if (top + i > left + j || left + j >= room.size) return;
    double sum = load(&out.products(top + i, left + j));
    for (int s = 0; s < room.slices; ++s) sum += load(room.product(s, number) + i * tuning::tile + j);
    tile[i * tuning::row_of_sums + j] = sum;
  });
  __syncthreads();
  // From shared memory, so that neighbouring threads write neighbouring sums on both sides of the diagonal.
  auto const write = [&](int row, int column, int i, int j) {
    if (row >= room.size || column >= room.size) return;
    store(&out.products(row, column), static_cast<double>(tile[i * tuning::row_of_sums + j]));
  };
  for_each_product([&](int i, int j) {
    bool const below = top + i > left + j;
    write(top + i, left + j, below ? j : i, below ? i : j);
    if (pair.a != pair.b) write(left + i, top + j, j, i);
  });
  int const c = pair.a * tuning::tile + static_cast<int>(threadIdx.x);
  if (pair.a != pair.b || static_cast<int>(threadIdx.x) >= tuning::tile || c >= room.size) return;
  double sum = load(out.sums + c);
  for (int s = 0; s < room.slices; ++s) sum += load(room.sum(s, pair.a) + threadIdx.x);
  store(out.sums + c, sum);
}

}  // namespace detail

template <>
struct kernel<gram_update_fn, cuda> {
  template <class P>
  static void run(cuda const& ex, P const& rows, head_range const& group, gram_view<device_memory> const& out) {
    using tuning = detail::gram_tuning;
    int const tokens = std::max(0, rows.tokens(group.first) - group.skip);
    if (tokens == 0) return;
    detail::gram_room room{.size = out.products.rows, .tokens = tokens, .skip = group.skip};
    int const wanted = std::max(1, tuning::blocks / room.pairs());
    int const most = (tokens - 1) / tuning::least_tokens + 1;
    room.tokens_of_slice = (tokens - 1) / std::min(wanted, most) + 1;
    room.slices = (tokens - 1) / room.tokens_of_slice + 1;

    auto const slices = static_cast<std::size_t>(room.slices);
    constexpr auto tile = static_cast<std::size_t>(tuning::tile);
    detail::device_array<int> const counts(ex, static_cast<std::size_t>(tokens));
    detail::device_array<int> const added(ex, 2);
    detail::device_array<double> const products(ex, slices * static_cast<std::size_t>(room.pairs()) * tile * tile);
    detail::device_array<double> const sums(ex, slices * static_cast<std::size_t>(room.tiles()) * tile);
    room.counts = counts.data();
    room.added = added.data();
    room.products = products.data();
    room.sums = sums.data();
    detail::set_bytes(ex, added.data(), 0, added.bytes());

    auto const part = detail::part_of(rows, group.first, group.heads);
    using part_type = std::remove_cvref_t<decltype(part)>;
    auto const pairs = static_cast<unsigned>(room.pairs());
    detail::launch(ex, "gram_update", detail::count_tokens_kernel<part_type>,
                   {detail::blocks_for(tokens, tuning::threads / detail::warp_size), tuning::threads}, part, group,
                   room);
    detail::launch(ex, "gram_update", detail::gram_tiles_kernel<part_type>,
                   {dim3(pairs, static_cast<unsigned>(room.slices)), tuning::threads, tuning::shared_bytes}, part,
                   group, room);
    detail::launch(ex, "gram_update", detail::join_slices_kernel<detail::gram_room>,
                   {pairs, tuning::threads, tuning::joined_bytes}, room, out);
  }
};

}  // namespace tightkv
