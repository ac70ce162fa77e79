// SPDX-License-Identifier: Apache-2.0
/// `select_top_k(ex, scores, ranges, plan)`: the best tokens of each head, in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/ops/token_range.hpp>

namespace tightkv {

/// Fills `p`: head h keeps all tokens outside `ranges[h]`, and the best of those inside, `p.after(h)` in all.
///
/// Kept tokens ascend. Of equal scores (-0 equals +0) the earlier token is better; NaN is worst, and counted in
/// `p.nan_scores`. Expected cost is linear in the tokens.
struct select_top_k_fn {
  template <executor E>
  void operator()(E const& ex, matrix_view<float const, typename E::memory> scores, std::span<token_range const> ranges,
                  basic_plan<typename E::memory>& p) const {
    detail::expects(scores.rows == p.heads() && static_cast<int>(ranges.size()) == p.heads(), "select_top_k",
                    "needs scores and a range for each head of the plan", "heads", p.heads(), "ranges", ranges.size());
    for (int h = 0; h < p.heads(); ++h) {
      auto const& r = ranges[static_cast<std::size_t>(h)];
      detail::expects(0 <= r.begin && r.begin <= r.end && r.end <= p.before(h) && r.end <= scores.cols, "select_top_k",
                      "a range must lie within the head's tokens", "begin", r.begin, "end", r.end);
      int const outside = p.before(h) - r.size();
      detail::expects(outside <= p.after(h) && p.after(h) <= p.before(h), "select_top_k",
                      "a head cannot keep fewer tokens than lie outside its range, nor more than it has", "kept",
                      p.after(h), "outside", outside);
    }
    kernel<select_top_k_fn, E>::run(ex, scores, ranges, p);
  }
};
inline constexpr select_top_k_fn select_top_k{};

namespace detail {

/// Writes the `count` best tokens of `range` to `out`, ascending; returns how many scores were NaN.
inline std::ptrdiff_t keep_best_of(float const* scores, token_range range, int count, int* out,
                                   std::pmr::vector<std::uint64_t>& scratch) {
  scratch.clear();
  std::ptrdiff_t nans = 0;
  for (int t = range.begin; t < range.end; ++t) {
    scratch.push_back(selection_key(scores[t], t));
    nans += scores[t] != scores[t] ? 1 : 0;
  }
  if (count == 0) return nans;
  auto const last = scratch.end() - count;
  std::nth_element(scratch.begin(), last, scratch.end());
  std::uint64_t const threshold = *last;
  for (int t = range.begin; t < range.end; ++t) {
    if (selection_key(scores[t], t) >= threshold) *out++ = t;
  }
  return nans;
}

}  // namespace detail

template <class F>
struct kernel<select_top_k_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, matrix_view<float const> scores, std::span<token_range const> ranges,
                  plan& p) {
    std::pmr::vector<std::ptrdiff_t> nans(ranges.size(), ex.resource());
    ex.for_each_index(p.heads(), [&](int h) {
      auto const range = ranges[static_cast<std::size_t>(h)];
      int* out = p.kept(h).data();
      int const best = p.after(h) - (p.before(h) - range.size());
      for (int t = 0; t < range.begin; ++t) *out++ = t;
      std::pmr::vector<std::uint64_t> scratch(ex.resource());
      nans[static_cast<std::size_t>(h)] = detail::keep_best_of(scores.row(h), range, best, out, scratch);
      out += best;
      for (int t = range.end; t < p.before(h); ++t) *out++ = t;
    });
    for (auto const n : nans) p.nan_scores += n;
  }
};

}  // namespace tightkv

#include <tightkv/cpu/select_top_k.hpp>  // the fast kernel
