// SPDX-License-Identifier: Apache-2.0
/// `project_heads(ex, from, matrices, to)`: several heads become one, or one head is turned, by a matrix at run time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/view/plane.hpp>

namespace tightkv {

/// Row t of head o of `to` = [rows t of heads o n, ..., o n + n - 1 of `from`, side by side] M, n = heads of `from` per
/// head of `to`.
///
/// `matrices` holds the M one below the other, each (n x head_dim of `from`) x (head_dim of `to`). There may be fewer
/// of them than heads of `to`: each then serves as many neighbouring heads.
///
///     tightkv::project_heads(ex, keys, keys_down, cached_keys);   // R2: a matrix per group of heads
///     tightkv::project_heads(ex, queries, queries_up, turned);    // a matrix per old KV head, for its query heads
///     tightkv::project_heads(ex, keys, all_down, one_wide_head);  // R1: one matrix for the layer
///
/// Products are summed in float in the order of the channels, and the result is rounded to the element type of `to`:
/// promised within an error of n x head_dim roundings, not to the bit. Where rows and all numbers of the matrices are
/// bfloat16, a machine may multiply them in pairs; then subnormal ones count as zero. The planes must not overlap.
/// Cost: n x head_dim x head_dim of `to` multiply-adds per row of `to`.
struct project_heads_fn {
  template <executor E, readable_plane From, class To>
  requires reachable_from<From, E> && reachable_from<To, E> && readable_plane<To> && writable_plane<To>
  void operator()(E const& ex, From const& from, matrix_view<float const, typename E::memory> const& matrices,
                  To const& to) const {
    constexpr auto who = "project_heads";
    if (to.heads() == 0 && from.heads() == 0) return;
    detail::expects(to.heads() > 0 && from.heads() > 0 && from.heads() % to.heads() == 0, who,
                    "the heads read must be a multiple of the heads written", "read", from.heads(), "written",
                    to.heads());
    int const together = from.heads() / to.heads();
    int const inputs = together * from.head_dim();
    detail::expects(matrices.cols == to.head_dim(), who, "a matrix must have a column per channel written", "cols",
                    matrices.cols, "head_dim", to.head_dim());
    detail::expects(matrices.rows > 0 && matrices.rows % inputs == 0, who, "a matrix must have a row per channel read",
                    "rows", matrices.rows, "channels", inputs);
    detail::expects(to.heads() % (matrices.rows / inputs) == 0, who,
                    "each matrix must serve the same number of heads written", "matrices", matrices.rows / inputs,
                    "heads", to.heads());
    detail::expects(matrices.data != nullptr, who, "the matrices must not be null");
    for (int h = 0; h < from.heads(); ++h) {
      detail::expects(from.tokens(h) == to.tokens(h / together), who, "heads must have the same number of tokens",
                      "read", from.tokens(h), "written", to.tokens(h / together));
    }
    kernel<project_heads_fn, E>::run(ex, from, matrices, to);
  }
};
inline constexpr project_heads_fn project_heads{};

template <class F>
struct kernel<project_heads_fn, basic_plain_cpu<F>> {
  template <class From, class To>
  static void run(basic_plain_cpu<F> const& ex, From const& from, matrix_view<float const> const& matrices,
                  To const& to) {
    using element = typename To::value_type;
    int const together = from.heads() / to.heads();
    int const inputs = together * from.head_dim();
    int const heads_per_matrix = to.heads() / (matrices.rows / inputs);
    ex.for_each_index(to.heads(), [&](int o) {
      int const first_row = o / heads_per_matrix * inputs;
      std::pmr::vector<float> sum(static_cast<std::size_t>(to.head_dim()), ex.resource());
      for (int t = 0; t < to.tokens(o); ++t) {
        std::fill(sum.begin(), sum.end(), 0.0F);
        for (int i = 0; i < inputs; ++i) {
          auto const x = static_cast<float>(from.head(o * together + i / from.head_dim())[t][i % from.head_dim()]);
          float const* const factors = matrices.row(first_row + i);
          for (std::size_t r = 0; r < sum.size(); ++r) sum[r] += x * factors[r];
        }
        auto const row = to.head(o)[t];
        for (std::size_t r = 0; r < sum.size(); ++r) row[static_cast<int>(r)] = element(sum[r]);
      }
    });
  }
};

}  // namespace tightkv

#include <tightkv/cpu/project_heads.hpp>  // the fast kernel
