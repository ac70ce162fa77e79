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
        typename P::value_type const* at[most] = {};
        int count = 0;
        pieces.for_each_run(pieces[i], [&](auto const& run) {
          detail::look_up(rows.head(run.head), run.begin, run.end, at + run.place, run.apart);
          count += run.end - run.begin;
        });
        float norms[most];
        norms_of(ex, at, count, rows.head_dim(), factor, norms);
        pieces.for_each_run(pieces[i], [&](auto const& run) {
          float* const to = out.row(run.head);
          for (int t = run.begin, from = run.place; t < run.end; ++t, from += run.apart) to[t] = norms[from];
        });
      });
    } else {
      detail::head_pieces const pieces(rows, most, ex.resource());
      ex.for_each_index(pieces.count(), [&](int i) {
        auto const piece = pieces[i];
        detail::row_table<P> table(ex.resource());
        norms_of(ex, table.of(rows.head(piece.head), rows.head_dim(), piece.begin, piece.end), piece.end - piece.begin,
                 rows.head_dim(), factor, out.row(piece.head) + piece.begin);
      });
    }
  }

 private:
  static constexpr int most = 1024;  // rows of a piece

  template <class T>
  static void norms_of(basic_cpu<F> const& ex, T const* const* at, int count, int dim, float factor, float* norms) {
    bool finite = false;
    detail::with_vectors(ex.instructions(), [&](auto set) {
      sums_of_squares_of(set, at, count, dim, norms);
      finite = scaled_roots_of(set, norms, count, factor);
    });
    if (finite) return;
    for (int i = 0; i < count; ++i) {
      bool const judged = detail::is_finite(norms[i]) || detail::all_finite(row<T const>{at[i], dim});
      if (!judged) norms[i] = unjudged;
    }
  }
};

}  // namespace tightkv
