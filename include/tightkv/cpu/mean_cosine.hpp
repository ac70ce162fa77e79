// SPDX-License-Identifier: Apache-2.0
/// Cosines to the mean direction: blocks of rows are summed wherever there is a thread, and put together in order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <vector>

#include <tightkv/cpu/row_norms.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/ops/mean_cosine.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/mean_cosine.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv {

template <class F>
struct kernel<mean_cosine_fn, basic_cpu<F>> {
  template <class P>
  static void run(basic_cpu<F> const& ex, P const& rows, float factor, matrix_view<float> out) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<mean_cosine_fn, basic_plain_cpu<F>>::run(ex, rows, factor, out);
    }
    // As many heads at a time as a cache holds: their rows are read twice.
    constexpr std::ptrdiff_t cached = std::ptrdiff_t{4} << 20;
    for (int first = 0, last = 0; first < rows.heads(); first = last) {
      std::ptrdiff_t bytes = 0;
      for (; last < rows.heads() && (last == first || bytes < cached); ++last)
        bytes += rows.tokens(last) * row_bytes(rows);
      score_heads(ex, rows, first, last, factor, out);
    }
  }

 private:
  template <class P>
  static void score_heads(basic_cpu<F> const& ex, P const& rows, int first, int last, float factor,
                          matrix_view<float> out) {
    constexpr int block = mean_cosine_fn::block;
    constexpr int most_blocks = 8;
    constexpr int piece_rows = most_blocks * block;
    auto const dim = static_cast<std::size_t>(rows.head_dim());
    detail::head_pieces const pieces(rows, first, last, piece_rows, ex.resource());
    std::pmr::vector<float> of_blocks(static_cast<std::size_t>(pieces.count() * most_blocks) * dim, ex.resource());
    auto const of_block = [&](int i, int b) {
      return of_blocks.data() + static_cast<std::size_t>(i * most_blocks + b) * dim;
    };
    ex.for_each_index(pieces.count(), [&](int i) {
      auto const piece = pieces[i];
      int const count = piece.end - piece.begin;
      float* const scale = out.row(piece.head) + piece.begin;
      detail::row_table<P> table(ex.resource());
      auto const* const at = table.of(rows.head(piece.head), rows.head_dim(), piece.begin, piece.end);
      detail::with_vectors(ex.instructions(), [&](auto set) {
        for (int begin = 0; begin < count; begin += block) {
          int const here = std::min(block, count - begin);
          int const coming = std::min(block, count - begin - here);
          sums_of_squares_of(set, at + begin, here, rows.head_dim(), scale + begin);
          inverse_roots_of(set, scale + begin, here);
          sum_of_scaled(set, at + begin, scale + begin, here, at + begin + here, coming, rows.head_dim(),
                        of_block(i, begin / block));
        }
      });
    });

    std::pmr::vector<float> directions(static_cast<std::size_t>(last - first) * dim, ex.resource());
    auto const direction = [&](int head) { return directions.data() + static_cast<std::size_t>(head - first) * dim; };
    for (int i = 0; i < pieces.count(); ++i) {
      float* const sum = direction(pieces[i].head);
      for (int b = 0; b * block < pieces[i].end - pieces[i].begin; ++b) {
        for (std::size_t d = 0; d < dim; ++d) sum[d] += of_block(i, b)[d];
      }
    }

    ex.for_each_index(pieces.count(), [&](int i) {
      auto const piece = pieces[i];
      int const count = piece.end - piece.begin;
      float const* const towards = direction(piece.head);
      float const scale = detail::inverse_norm(row<float const>{towards, rows.head_dim()}) * factor;
      float* const score = out.row(piece.head) + piece.begin;
      detail::row_table<P> table(ex.resource());
      auto const* const at = table.of(rows.head(piece.head), rows.head_dim(), piece.begin, piece.end);
      float products[piece_rows];
      detail::with_vectors(ex.instructions(),
                           [&](auto set) { products_with(set, at, count, rows.head_dim(), towards, products); });
      for (int t = 0; t < count; ++t) score[t] *= products[t] * scale;
    });
  }
};

}  // namespace tightkv
