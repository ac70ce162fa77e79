// SPDX-License-Identifier: Apache-2.0
/// `mean_cosine(ex, rows, factor, out)`: the cosine of each row to the mean direction of its head, times a factor.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory_resource>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/config.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/ops/checks.hpp>
#include <tightkv/view/plane.hpp>

namespace tightkv {

/// out(h, t) = factor * cos(row(h, t), m), m the mean over the head's rows of row / ||row||.
///
/// A zero row has cosine 0 and adds nothing to the mean; so has every row when the mean is 0. A row that holds a value
/// which is not finite, or is too long for its square to be a float, scores NaN and takes no part in the mean. Rows are
/// summed in order within blocks of 128, the blocks in order. Two reads of the rows.
struct mean_cosine_fn {
  static constexpr int block = 128;

  template <executor E, readable_plane P>
  requires reachable_from<P, E>
  void operator()(E const& ex, P const& rows, float factor, scores_view<E> out) const {
    detail::check_scores("mean_cosine", rows, out);
    kernel<mean_cosine_fn, E>::run(ex, rows, factor, out);
  }
};
inline constexpr mean_cosine_fn mean_cosine{};

namespace detail {

/// 1 / sqrt(squares); 0 for 0, NaN for what is not finite.
TIGHTKV_HD inline float inverse_root(float squares) noexcept {
  if (!is_finite(squares)) return unjudged;
  return squares > 0.0F ? 1.0F / std::sqrt(squares) : 0.0F;
}

/// 1 / ||row||; 0 for a zero row, NaN for one that takes no part.
template <class Row>
float inverse_norm(Row const& r) {
  return inverse_root(sum_of_squares(r));
}

}  // namespace detail

template <class F>
struct kernel<mean_cosine_fn, basic_plain_cpu<F>> {
  template <class P>
  static void run(basic_plain_cpu<F> const& ex, P const& rows, float factor, matrix_view<float> out) {
    ex.for_each_index(rows.heads(), [&](int h) {
      auto const head = rows.head(h);
      auto const dim = static_cast<std::size_t>(rows.head_dim());
      std::pmr::vector<float> direction(dim, ex.resource());  // the sum of the unit rows: as good as their mean
      std::pmr::vector<float> of_block(dim, ex.resource());
      for (int begin = 0; begin < head.tokens(); begin += mean_cosine_fn::block) {
        std::fill(of_block.begin(), of_block.end(), 0.0F);
        for (int t = begin; t < std::min(begin + mean_cosine_fn::block, head.tokens()); ++t) {
          auto const r = head[t];
          float const scale = out(h, t) = detail::inverse_norm(r);
          if (scale != scale) continue;
          for (std::size_t d = 0; d < dim; ++d)
            of_block[d] = detail::fma(static_cast<float>(r[static_cast<int>(d)]), scale, of_block[d]);
        }
        for (std::size_t d = 0; d < dim; ++d) direction[d] += of_block[d];
      }
      float const towards = detail::inverse_norm(row<float>{direction.data(), rows.head_dim()});
      for (int t = 0; t < head.tokens(); ++t) out(h, t) *= detail::dot(head[t], direction.data()) * (towards * factor);
    });
  }
};

}  // namespace tightkv

#include <tightkv/cpu/mean_cosine.hpp>  // the fast kernel
