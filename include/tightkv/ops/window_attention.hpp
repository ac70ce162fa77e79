// SPDX-License-Identifier: Apache-2.0
/// `window_attention(ex, view, window, out)`: the mean attention of the last queries on every token, per query head.
#pragma once

#include <algorithm>
#include <memory_resource>
#include <vector>

#include <tightkv/core/kernel.hpp>
#include <tightkv/ops/attention_rows.hpp>
#include <tightkv/ops/checks.hpp>

namespace tightkv {

/// out(q, j) = mean over the last `window` queries i of query head q of softmax_j(q_i k_j / sqrt d), causal.
///
/// `out` has one row per *query* head. A key that is not finite gets NaN; a query that is not finite counts as zeros. A
/// head shorter than the window is observed by all its queries.
struct window_attention_fn {
  template <executor E, view_with_queries V>
  requires reachable_from<V, E>
  void operator()(E const& ex, V const& view, int window, scores_view<E> out) const {
    detail::expects(window >= 1, "window_attention", "window must be at least 1", "window", window);
    detail::expects(out.rows == view.queries.heads() && out.cols >= longest(view.keys), "window_attention",
                    "scores must be query heads x tokens", "rows", out.rows, "cols", out.cols);
    detail::expects(out.data != nullptr || out.rows == 0 || longest(view.keys) == 0, "window_attention",
                    "scores must not be null");
    for (int q = 0; q < view.queries.heads(); ++q) {
      int const needed = std::min(window, view.tokens(q / group_size(view)));
      detail::expects(view.queries.tokens(q) >= needed, "window_attention", "the view has too few queries", "queries",
                      view.queries.tokens(q), "window", window);
    }
    kernel<window_attention_fn, E>::run(ex, view, window, out);
  }
};
inline constexpr window_attention_fn window_attention{};

template <class F>
struct kernel<window_attention_fn, basic_plain_cpu<F>> {
  template <class V>
  static void run(basic_plain_cpu<F> const& ex, V const& view, int window, matrix_view<float> out) {
    ex.for_each_index(view.heads(), [&](int h) {
      int const tokens = view.tokens(h);
      detail::float_keys const keys(view.keys.head(h), view.keys.head_dim(), ex.resource());
      for (int q = h * group_size(view); q < (h + 1) * group_size(view); ++q) {
        std::fill_n(out.row(q), tokens, 0.0F);
        int const first_query = std::max(0, view.queries.tokens(q) - window);
        detail::each_attention_row(view, q, first_query, keys, ex.resource(), [&](float const* p) {
          for (int j = 0; j < tokens; ++j) out(q, j) += p[j];
        });
        for (int j = 0; j < tokens; ++j) out(q, j) = keys.finite(j) ? out(q, j) / static_cast<float>(window) : unjudged;
      }
    });
  }
};

template <class F>
struct kernel<window_attention_fn, basic_cpu<F>> : kernel<window_attention_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
