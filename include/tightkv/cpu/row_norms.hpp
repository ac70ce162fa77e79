// SPDX-License-Identifier: Apache-2.0
/// Row norms at the speed of memory: each row is read once, four streams at a time.
#pragma once

#include <algorithm>

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
    constexpr int piece_rows = 1024;
    detail::head_pieces const pieces(rows, piece_rows, ex.resource());
    ex.for_each_index(pieces.count(), [&](int i) {
      auto const piece = pieces[i];
      auto const head = rows.head(piece.head);
      int const count = piece.end - piece.begin;
      detail::row_table<P> table(ex.resource());
      auto const* const at = table.of(head, rows.head_dim(), piece.begin, piece.end);
      float* const to = out.row(piece.head) + piece.begin;
      bool finite = false;
      detail::with_vectors(ex.instructions(), [&](auto set) {
        sums_of_squares_of(set, at, count, rows.head_dim(), to);
        finite = scaled_roots_of(set, to, count, factor);
      });
      for (int t = 0; !finite && t < count; ++t) {
        if (!detail::is_finite(to[t]) && !detail::all_finite(head[piece.begin + t])) to[t] = unjudged;
      }
    });
  }
};

}  // namespace tightkv
