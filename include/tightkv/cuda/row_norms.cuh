// SPDX-License-Identifier: Apache-2.0
/// `row_norms` on a GPU: one read of the rows, 16 bytes at a time.
#pragma once

#include <cmath>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/row_team.cuh>
#include <tightkv/ops/row_norms.hpp>

namespace tightkv {
namespace detail {

struct row_norms_tuning {
  static constexpr int threads = 256;
};

struct add_square {
  __device__ float operator()(float sum, int, float x) const { return fma(x, x, sum); }
};

template <class P>
__global__ void __launch_bounds__(row_norms_tuning::threads)
    row_norms_kernel(__grid_constant__ P const rows, int first_head, float factor,
                     matrix_view<float, device_memory> out) {
  using team = row_team<typename P::value_type, 16>;
  int const h = first_head + static_cast<int>(blockIdx.x);
  int const t = static_cast<int>(blockIdx.y) * (row_norms_tuning::threads / team::threads) + team::index();
  auto const head = rows.head(h);
  bool const there = t < head.tokens();
  auto const r = head[there ? t : 0];
  float const squares = sum_row<team>(r, there, add_square{});
  if (!there || team::member() != 0) return;
  bool const finite = is_finite(squares) || all_finite(r);  // a long row's square may be infinite
  store(&out(h, t), finite ? factor * std::sqrt(squares) : unjudged);
}

}  // namespace detail

template <>
struct kernel<row_norms_fn, cuda> {
  template <class P>
  static void run(cuda const& ex, P const& rows, float factor, scores_view<cuda> out) {
    using tuning = detail::row_norms_tuning;
    constexpr int teams = tuning::threads / detail::row_team<typename P::value_type, 16>::threads;
    detail::each_part(
        [&](int first, int heads, auto const& part) {
          detail::launch(
              ex, "row_norms", detail::row_norms_kernel<std::remove_cvref_t<decltype(part)>>,
              {dim3(static_cast<unsigned>(heads), detail::blocks_for(longest(rows), teams)), tuning::threads}, part,
              first, factor, out);
        },
        rows);
  }
};

}  // namespace tightkv
