// SPDX-License-Identifier: Apache-2.0
/// `number_tokens(ex, parameters, numbers)`: gives new rows the numbers of their tokens in the sequence.
#pragma once

#include <span>

#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/ops/token_range.hpp>

namespace tightkv {

/// numbers(h, ranges[h].begin + i) = first[h] + i, for the rows of `ranges[h]`; others are not touched.
struct number_tokens_fn {
  struct parameters {
    std::span<token_range const> ranges{};
    std::span<int const> first{};
  };

  template <executor E>
  void operator()(E const& ex, parameters const& p, matrix_view<int, typename E::memory> numbers) const {
    detail::expects(static_cast<int>(p.ranges.size()) == numbers.rows && p.first.size() == p.ranges.size(),
                    "number_tokens", "needs a range and a number per head", "heads", numbers.rows, "ranges",
                    p.ranges.size());
    for (auto const& r : p.ranges) {
      detail::expects(0 <= r.begin && r.begin <= r.end && r.end <= numbers.cols, "number_tokens",
                      "a range must lie within the numbers", "begin", r.begin, "end", r.end);
    }
    kernel<number_tokens_fn, E>::run(ex, p, numbers);
  }
};
inline constexpr number_tokens_fn number_tokens{};

template <class F>
struct kernel<number_tokens_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, number_tokens_fn::parameters const& p, matrix_view<int> numbers) {
    ex.for_each_index(numbers.rows, [&](int h) {
      auto const range = p.ranges[static_cast<std::size_t>(h)];
      int next = p.first[static_cast<std::size_t>(h)];
      for (int t = range.begin; t < range.end; ++t) numbers(h, t) = next++;
    });
  }
};

template <class F>
struct kernel<number_tokens_fn, basic_cpu<F>> : kernel<number_tokens_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
