// SPDX-License-Identifier: Apache-2.0
/// Row norms at the speed of memory: each row is read once, four streams at a time.
#pragma once

#include <algorithm>

#include <tightkv/cpu/memory_order.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/ops/row_norms.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/row_norms.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv {

template <class F>
struct kernel<row_norms_fn, basic_cpu<F>> {
  template <class P>
  static void run(basic_cpu<F> const& ex, P const& rows, float factor, matrix_view<float> out) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<row_norms_fn, basic_plain_cpu<F>>::run(ex, rows, factor, out);
    }
    if constexpr (detail::has_whole_rows<P>) {
      detail::memory_order<P> const pieces(rows, most, ex.resource());
      ex.for_each_index(pieces.count(), [&](int i) {
        typename P::value_type const* at[most];
        float* to[most];
        int count = 0;
        pieces.for_each_row(pieces[i], [&](int h, int t, auto const* row) {
          at[count] = row;
          to[count] = out.row(h) + t;
          ++count;
        });
        score(ex, at, count, rows.head_dim(), factor, to);
      });
    } else {
      detail::head_pieces const pieces(rows, most, ex.resource());
      ex.for_each_index(pieces.count(), [&](int i) {
        auto const piece = pieces[i];
        detail::row_table<P> table(ex.resource());
        float* to[most];
        for (int t = piece.begin; t < piece.end; ++t) to[t - piece.begin] = out.row(piece.head) + t;
        score(ex, table.of(rows.head(piece.head), rows.head_dim(), piece.begin, piece.end), piece.end - piece.begin,
              rows.head_dim(), factor, to);
      });
    }
  }

 private:
  static constexpr int most = 1024;  // rows of a piece

  template <class T>
  static void score(basic_cpu<F> const& ex, T const* const* at, int count, int dim, float factor, float* const* to) {
    float norms[most];
    bool finite = false;
    detail::with_vectors(ex.instructions(), [&](auto set) {
      sums_of_squares_of(set, at, count, dim, norms);
      finite = scaled_roots_of(set, norms, count, factor);
    });
    for (int i = 0; i < count; ++i) {
      bool const judged = finite || detail::is_finite(norms[i]) || detail::all_finite(row<T const>{at[i], dim});
      *to[i] = judged ? norms[i] : unjudged;
    }
  }
};

}  // namespace tightkv
