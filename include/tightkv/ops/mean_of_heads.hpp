// SPDX-License-Identifier: Apache-2.0
/// `mean_of_heads(ex, in, shape, out)`: averages the scores of query heads into those of the KV heads they share.
#pragma once

#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>

namespace tightkv {

/// Every `into` rows of `out` hold the mean of the matching `from` rows of `in`:
///
///     {.from = group, .into = 1}                          one set of scores per KV head (SnapKV)
///     {.from = query heads, .into = KV heads of a layer}  one set for all heads of a layer (TOVA)
///
/// A NaN in any of them makes the mean NaN.
struct mean_of_heads_fn {
  struct shape {
    int from = 1;
    int into = 1;
  };

  template <executor E>
  void operator()(E const& ex, matrix_view<float const, typename E::memory> in, shape s, scores_view<E> out) const {
    detail::expects(s.from >= 1 && s.into >= 1, "mean_of_heads", "needs at least one head on either side", "from",
                    s.from, "into", s.into);
    detail::expects(in.rows % s.from == 0 && out.rows % s.into == 0 && in.rows / s.from == out.rows / s.into,
                    "mean_of_heads", "rows do not divide into groups", "in", in.rows, "out", out.rows);
    detail::expects(out.cols <= in.cols, "mean_of_heads", "out must not be wider than in", "out", out.cols, "in",
                    in.cols);
    kernel<mean_of_heads_fn, E>::run(ex, in, s, out);
  }
};
inline constexpr mean_of_heads_fn mean_of_heads{};

template <class F>
struct kernel<mean_of_heads_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, matrix_view<float const> in, mean_of_heads_fn::shape s,
                  matrix_view<float> out) {
    ex.for_each_index(out.rows / s.into, [&](int group) {
      for (int t = 0; t < out.cols; ++t) {
        float sum = 0.0F;
        for (int i = 0; i < s.from; ++i) sum += in(group * s.from + i, t);
        for (int i = 0; i < s.into; ++i) out(group * s.into + i, t) = sum / static_cast<float>(s.from);
      }
    });
  }
};

template <class F>
struct kernel<mean_of_heads_fn, basic_cpu<F>> : kernel<mean_of_heads_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
