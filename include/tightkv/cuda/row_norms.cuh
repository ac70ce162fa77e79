// SPDX-License-Identifier: Apache-2.0
/// `row_norms` on a GPU: one read of the rows, 16 bytes at a time.
#pragma once

#include <cmath>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/row_tile.cuh>
#include <tightkv/ops/row_norms.hpp>

namespace tightkv {
namespace detail {

/// A block brings a tile of rows; then each thread sums one.
template <class P>
__global__ void __launch_bounds__(row_tile_tuning::most_rows)
    row_norms_kernel(__grid_constant__ P const rows, int first_head, float factor,
                     matrix_view<float, device_memory> out) {
  using T = typename P::value_type;
  int const h = first_head + static_cast<int>(blockIdx.x);
  auto const head = rows.head(h);
  int const begin = static_cast<int>(blockIdx.y * blockDim.x);
  int const left = head.tokens() - begin;
  if (left <= 0) return;
  row_tile<T> const tile(dynamic_shared<T>(), rows.head_dim());
  tile.bring(head, begin, left < static_cast<int>(blockDim.x) ? left : static_cast<int>(blockDim.x));
  int const row = static_cast<int>(threadIdx.x);
  if (row >= left) return;
  float const squares = tile.sum(row, add_squares{});
  bool const finite = is_finite(squares) || all_finite(head[begin + row]);  // a long row's square may be infinite
  store(&out(h, begin + row), finite ? factor * std::sqrt(squares) : unjudged);
}

}  // namespace detail

template <>
struct kernel<row_norms_fn, cuda> {
  template <class P>
  static void run(cuda const& ex, P const& rows, float factor, scores_view<cuda> out) {
    using tile = detail::row_tile<typename P::value_type>;
    if (longest(rows) == 0) return;
    int const tile_rows = tile::rows("row_norms", rows.head_dim());
    unsigned const tiles = detail::blocks_for(longest(rows), tile_rows);
    auto const bytes = static_cast<std::size_t>(tile_rows * tile::bytes_of_row(rows.head_dim()));
    detail::each_part(
        [&](int first, int heads, auto const& part) {
          detail::launch(ex, "row_norms", detail::row_norms_kernel<std::remove_cvref_t<decltype(part)>>,
                         {dim3(static_cast<unsigned>(heads), tiles), static_cast<unsigned>(tile_rows), bytes}, part,
                         first, factor, out);
        },
        rows);
  }
};

}  // namespace tightkv
