// SPDX-License-Identifier: Apache-2.0
/// `rank_tokens(ex, scores, parameters)`: replaces scores by ranks, so that scores of different kinds can be compared.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/ops/token_range.hpp>

namespace tightkv {

/// Within each block of `block` tokens of `ranges[h]`, a score becomes the number of tokens of that block it beats,
/// over `divisor`: 0 for the worst. Of equal scores the earlier is better; NaN stays NaN, and is beaten by all. In
/// place; tokens outside the ranges are not touched.
struct rank_tokens_fn {
  struct parameters {
    std::span<token_range const> ranges{};
    int block = std::numeric_limits<int>::max();  // the whole range
    float divisor = 1.0F;
  };

  template <executor E>
  void operator()(E const& ex, scores_view<E> scores, parameters const& p) const {
    detail::expects(static_cast<int>(p.ranges.size()) == scores.rows, "rank_tokens", "needs one range per head",
                    "heads", scores.rows, "ranges", p.ranges.size());
    detail::expects(p.block >= 1, "rank_tokens", "block must be at least 1", "block", p.block);
    for (auto const& r : p.ranges) {
      detail::expects(0 <= r.begin && r.begin <= r.end && r.end <= scores.cols, "rank_tokens",
                      "a range must lie within the scores", "begin", r.begin, "end", r.end);
    }
    kernel<rank_tokens_fn, E>::run(ex, scores, p);
  }
};
inline constexpr rank_tokens_fn rank_tokens{};

template <class F>
struct kernel<rank_tokens_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, matrix_view<float> scores, rank_tokens_fn::parameters const& p) {
    ex.for_each_index(scores.rows, [&](int h) {
      auto const range = p.ranges[static_cast<std::size_t>(h)];
      std::pmr::vector<std::uint64_t> keys(ex.resource());
      for (int begin = range.begin; begin < range.end;) {
        int const end = begin + std::min(p.block, range.end - begin);
        keys.clear();
        for (int t = begin; t < end; ++t) keys.push_back(detail::selection_key(scores(h, t), t));
        std::sort(keys.begin(), keys.end());
        for (std::size_t rank = 0; rank < keys.size(); ++rank) {
          float& score = scores(h, detail::token_of(keys[rank]));
          if (score == score) score = static_cast<float>(rank) / p.divisor;
        }
        begin = end;
      }
    });
  }
};

template <class F>
struct kernel<rank_tokens_fn, basic_cpu<F>> : kernel<rank_tokens_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
