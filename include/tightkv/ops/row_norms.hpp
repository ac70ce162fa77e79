// SPDX-License-Identifier: Apache-2.0
/// `row_norms(ex, rows, factor, out)`: the Euclidean length of each row, times a factor.
#pragma once

#include <cmath>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/ops/checks.hpp>
#include <tightkv/view/plane.hpp>

namespace tightkv {

/// out(h, t) = factor * ||row(h, t)||, NaN for a row that holds a value which is not finite. One read of the rows.
struct row_norms_fn {
  template <executor E, readable_plane P>
  requires reachable_from<P, E>
  void operator()(E const& ex, P const& rows, float factor, scores_view<E> out) const {
    detail::check_scores("row_norms", rows, out);
    kernel<row_norms_fn, E>::run(ex, rows, factor, out);
  }
};
inline constexpr row_norms_fn row_norms{};

template <class F>
struct kernel<row_norms_fn, basic_plain_cpu<F>> {
  template <class P>
  static void run(basic_plain_cpu<F> const& ex, P const& rows, float factor, matrix_view<float> out) {
    ex.for_each_index(rows.heads(), [&](int h) {
      auto const head = rows.head(h);
      for (int t = 0; t < head.tokens(); ++t) {
        auto const r = head[t];
        out(h, t) = detail::all_finite(r) ? factor * std::sqrt(detail::sum_of_squares(r)) : unjudged;
      }
    });
  }
};

}  // namespace tightkv

#include <tightkv/cpu/row_norms.hpp>  // the fast kernel
