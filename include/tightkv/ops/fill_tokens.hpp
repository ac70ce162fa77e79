// SPDX-License-Identifier: Apache-2.0
/// `fill_tokens(ex, ranges, value, scores)`: one value for a range of tokens of each head.
#pragma once

#include <algorithm>
#include <span>

#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/ops/token_range.hpp>

namespace tightkv {

/// scores(h, t) = value for t in `ranges[h]`; others are not touched.
struct fill_tokens_fn {
  template <executor E>
  void operator()(E const& ex, std::span<token_range const> ranges, float value, scores_view<E> scores) const {
    detail::expects(static_cast<int>(ranges.size()) == scores.rows, "fill_tokens", "needs one range per head", "heads",
                    scores.rows, "ranges", ranges.size());
    for (auto const& r : ranges) {
      detail::expects(0 <= r.begin && r.begin <= r.end && r.end <= scores.cols, "fill_tokens",
                      "a range must lie within the scores", "begin", r.begin, "end", r.end);
    }
    kernel<fill_tokens_fn, E>::run(ex, ranges, value, scores);
  }
};
inline constexpr fill_tokens_fn fill_tokens{};

template <class F>
struct kernel<fill_tokens_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, std::span<token_range const> ranges, float value,
                  matrix_view<float> scores) {
    ex.for_each_index(scores.rows, [&](int h) {
      auto const range = ranges[static_cast<std::size_t>(h)];
      std::fill(scores.row(h) + range.begin, scores.row(h) + range.end, value);
    });
  }
};

template <class F>
struct kernel<fill_tokens_fn, basic_cpu<F>> : kernel<fill_tokens_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
