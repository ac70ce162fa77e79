// SPDX-License-Identifier: Apache-2.0
/// `attention_mass(ex, view, queries, out)`: the attention each token has received, added to what `out` holds.
#pragma once

#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/core/kernel.hpp>
#include <tightkv/ops/attention_rows.hpp>
#include <tightkv/ops/checks.hpp>

namespace tightkv {

/// out(h, j) += sum over the query heads of KV head h, and over their last `queries[h]` queries, of softmax(q k / sqrt
/// d)_j.
///
/// Column sums of the causal attention matrix, which is never formed: memory is one row. With `row_lse` in the view the
/// normaliser of each row is given. A key that is not finite gets NaN; a query that is not finite is passed over.
struct attention_mass_fn {
  template <executor E, view_with_queries V>
  requires reachable_from<V, E>
  void operator()(E const& ex, V const& view, std::span<int const> queries, scores_view<E> out) const {
    detail::check_scores("attention_mass", view.keys, out);
    detail::expects(static_cast<int>(queries.size()) == view.heads(), "attention_mass",
                    "needs a number of queries per head", "heads", view.heads(), "given", queries.size());
    for (int q = 0; q < view.queries.heads(); ++q) {
      int const needed = queries[static_cast<std::size_t>(q / group_size(view))];
      detail::expects(needed >= 0 && needed <= view.queries.tokens(q), "attention_mass", "the view has too few queries",
                      "queries", view.queries.tokens(q), "needed", needed);
    }
    kernel<attention_mass_fn, E>::run(ex, view, queries, out);
  }
};
inline constexpr attention_mass_fn attention_mass{};

template <class F>
struct kernel<attention_mass_fn, basic_plain_cpu<F>> {
  template <class V>
  static void run(basic_plain_cpu<F> const& ex, V const& view, std::span<int const> queries, matrix_view<float> out) {
    ex.for_each_index(view.heads(), [&](int h) {
      int const tokens = view.tokens(h);
      detail::float_keys const keys(view.keys.head(h), view.keys.head_dim(), ex.resource());
      // Summed in double: in a long prompt the first token's mass is a thousand times a step's contribution.
      std::pmr::vector<double> mass(static_cast<std::size_t>(tokens), ex.resource());
      for (int q = h * group_size(view); q < (h + 1) * group_size(view); ++q) {
        int const first_query = view.queries.tokens(q) - queries[static_cast<std::size_t>(h)];
        detail::each_attention_row(view, q, first_query, keys, ex.resource(), [&](float const* p) {
          for (std::size_t j = 0; j < mass.size(); ++j) mass[j] += static_cast<double>(p[j]);
        });
      }
      for (int j = 0; j < tokens; ++j) {
        out(h, j) = keys.finite(j) ? static_cast<float>(out(h, j) + mass[static_cast<std::size_t>(j)]) : unjudged;
      }
    });
  }
};

template <class F>
struct kernel<attention_mass_fn, basic_cpu<F>> : kernel<attention_mass_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
