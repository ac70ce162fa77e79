// SPDX-License-Identifier: Apache-2.0
/// `row_norms` on a GPU: one read of the rows, 16 bytes at a time.
#pragma once

#include <cmath>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/row_team.cuh>
#include <tightkv/cuda/staged_rows.cuh>
#include <tightkv/ops/row_norms.hpp>

namespace tightkv {
namespace detail {

struct add_square {
  __device__ float operator()(float sum, int, float x) const { return fma(x, x, sum); }
};

template <class P>
__global__ void __launch_bounds__(staged_rows_tuning::most_warps* warp_size)
    row_norms_kernel(__grid_constant__ P const rows, int first_head, float factor,
                     matrix_view<float, device_memory> out) {
  using T = typename P::value_type;
  int const h = first_head + static_cast<int>(blockIdx.x);
  auto const head = rows.head(h);
  staged_rows<T> const staged(dynamic_shared<T>(), rows.head_dim());
  sum_staged_rows(staged, head, add_square{}, [&](int t, float squares, bool writes) {
    if (!writes) return;
    bool const finite = is_finite(squares) || all_finite(head[t]);  // a long row's square may be infinite
    store(&out(h, t), finite ? factor * std::sqrt(squares) : unjudged);
  });
}

}  // namespace detail

template <>
struct kernel<row_norms_fn, cuda> {
  template <class P>
  static void run(cuda const& ex, P const& rows, float factor, scores_view<cuda> out) {
    using staged = detail::staged_rows<typename P::value_type>;
    if (longest(rows) == 0) return;
    int const warps = staged::warps("row_norms", rows.head_dim());
    unsigned const blocks = detail::staged_blocks<typename P::value_type>(longest(rows), warps);
    auto const bytes = static_cast<std::size_t>(warps * staged::bytes_of_warp(rows.head_dim()));
    detail::each_part(
        [&](int first, int heads, auto const& part) {
          detail::launch(
              ex, "row_norms", detail::row_norms_kernel<std::remove_cvref_t<decltype(part)>>,
              {dim3(static_cast<unsigned>(heads), blocks), static_cast<unsigned>(warps * detail::warp_size), bytes},
              part, first, factor, out);
        },
        rows);
  }
};

}  // namespace tightkv
