// SPDX-License-Identifier: Apache-2.0
/// `mark_unjudged(ex, ranges, scores)`: NaN for every token outside its head's range.
#pragma once

#include <span>

#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/core/runs.hpp>
#include <tightkv/ops/token_range.hpp>

namespace tightkv {

/// Scores of protected tokens mean nothing: they become NaN, so that no reader takes them for a judgement.
struct mark_unjudged_fn {
  template <executor E>
  void operator()(E const& ex, std::span<token_range const> ranges, scores_view<E> scores) const {
    detail::expects(static_cast<int>(ranges.size()) == scores.rows, "mark_unjudged", "needs one range per head",
                    "heads", scores.rows, "ranges", ranges.size());
    for (auto const& r : ranges) {
      detail::expects(0 <= r.begin && r.begin <= r.end && r.end <= scores.cols, "mark_unjudged",
                      "a range must lie within the scores", "begin", r.begin, "end", r.end);
    }
    kernel<mark_unjudged_fn, E>::run(ex, ranges, scores);
  }
};
inline constexpr mark_unjudged_fn mark_unjudged{};

template <class F>
struct kernel<mark_unjudged_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, std::span<token_range const> ranges, matrix_view<float> scores) {
    ex.for_each_index(scores.rows, [&](int h) {
      auto const range = ranges[static_cast<std::size_t>(h)];
      detail::fill_run({scores.row(h), scores.row(h) + range.begin}, unjudged);
      detail::fill_run({scores.row(h) + range.end, scores.row(h) + scores.cols}, unjudged);
    });
  }
};

template <class F>
struct kernel<mark_unjudged_fn, basic_cpu<F>> : kernel<mark_unjudged_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
