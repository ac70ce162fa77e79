// SPDX-License-Identifier: Apache-2.0
/// `pool_tokens(ex, in, lengths, pooling, out)`: smooths scores along tokens.
#pragma once

#include <algorithm>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>

namespace tightkv {

enum class pooling { average, maximum };

/// scores(h, t) becomes the average, or the maximum, of the `width` scores around t, over tokens [0, lengths[h]).
///
/// Zeros stand outside that range, and the average always divides by `width`. A NaN stays where it is and counts as a
/// zero for its neighbours. In place.
struct pool_tokens_fn {
  struct parameters {
    std::span<int const> lengths{};
    int width = 5;
    tightkv::pooling pooling = tightkv::pooling::average;
  };

  template <executor E>
  void operator()(E const& ex, scores_view<E> scores, parameters const& p) const {
    detail::expects(p.width >= 1 && p.width % 2 == 1, "pool_tokens", "width must be odd", "width", p.width);
    detail::expects(static_cast<int>(p.lengths.size()) == scores.rows, "pool_tokens", "needs one length per row",
                    "rows", scores.rows, "lengths", p.lengths.size());
    for (int const length : p.lengths) {
      detail::expects(length >= 0 && length <= scores.cols, "pool_tokens", "a length must lie within the scores",
                      "length", length, "cols", scores.cols);
    }
    kernel<pool_tokens_fn, E>::run(ex, scores, p);
  }
};
inline constexpr pool_tokens_fn pool_tokens{};

template <class F>
struct kernel<pool_tokens_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, matrix_view<float> scores, pool_tokens_fn::parameters const& p) {
    ex.for_each_index(scores.rows, [&](int h) {
      int const length = p.lengths[static_cast<std::size_t>(h)];
      std::pmr::vector<float> const in(scores.row(h), scores.row(h) + length, ex.resource());
      auto const at = [&](int t) {
        float const x = t < 0 || t >= length ? 0.0F : in[static_cast<std::size_t>(t)];
        return x != x ? 0.0F : x;
      };
      for (int t = 0; t < length; ++t) {
        if (in[static_cast<std::size_t>(t)] != in[static_cast<std::size_t>(t)]) continue;
        float sum = 0.0F;
        float most = at(t);
        for (int i = t - p.width / 2; i <= t + p.width / 2; ++i) {
          sum += at(i);
          most = std::max(most, at(i));
        }
        scores(h, t) = p.pooling == pooling::average ? sum / static_cast<float>(p.width) : most;
      }
    });
  }
};

template <class F>
struct kernel<pool_tokens_fn, basic_cpu<F>> : kernel<pool_tokens_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
