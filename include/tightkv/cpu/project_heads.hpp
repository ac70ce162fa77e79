// SPDX-License-Identifier: Apache-2.0
/// Heads through matrices: tiles of sums in registers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/cpu/products.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/scratch.hpp>
#include <tightkv/ops/project_heads.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/project_heads.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv {

template <class F>
struct kernel<project_heads_fn, basic_cpu<F>> {
  template <class From, class To>
  static void run(basic_cpu<F> const& ex, From const& from, matrix_view<float const> const& matrices, To const& to) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<project_heads_fn, basic_plain_cpu<F>>::run(ex, from, matrices, to);
    }
    using element = typename To::value_type;
    // A multiple of the rows that any instruction set has registers for; so few that C libraries keep their memory.
    constexpr int piece_rows = 24;
    int const dim = from.head_dim();
    int const cols = to.head_dim();
    int const together = from.heads() / to.heads();
    int const inputs = together * dim;
    int const heads_per_matrix = to.heads() / (matrices.rows / inputs);
    detail::head_pieces const pieces(to, piece_rows, ex.resource());
    ex.for_each_index(pieces.count(), [&](int i) {
      auto const piece = pieces[i];
      int const tokens = piece.end - piece.begin;
      auto const count = static_cast<std::size_t>(tokens);
      detail::scratch<float> const rows(count * static_cast<std::size_t>(inputs), ex.resource());
      detail::scratch<float> const results(count * static_cast<std::size_t>(cols), ex.resource());
      detail::row_table<From> table(ex.resource());
      for (int n = 0; n < together; ++n) {
        auto const* const at = table.of(from.head(piece.head * together + n), dim, piece.begin, piece.end);
        detail::with_vectors(ex.instructions(),
                             [&](auto set) { unpack_rows(set, at, tokens, dim, rows.data() + n * dim, inputs); });
      }
      float const* const matrix = matrices.row(piece.head / heads_per_matrix * inputs);
      detail::with_vectors(ex.instructions(), [&](auto set) {
        project_rows(set, rows.data(), tokens, inputs, matrix, matrices.stride, cols, results.data());
      });
      auto const out = to.head(piece.head);
      float const* result = results.data();
      for (int t = piece.begin; t < piece.end; ++t) {
        auto const row = out[t];
        for (int c = 0; c < cols; ++c) row[c] = element(*result++);
      }
    });
  }
};

}  // namespace tightkv
