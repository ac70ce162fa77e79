// SPDX-License-Identifier: Apache-2.0
/// `keep_outside(ex, ranges, plan)`: keeps all tokens but a range of each head, without looking at anything.
#pragma once

#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/core/runs.hpp>
#include <tightkv/ops/token_range.hpp>

namespace tightkv {

/// Fills `p`: head h keeps the tokens outside `ranges[h]`, in order. `p` must have room for exactly those.
struct keep_outside_fn {
  template <executor E>
  void operator()(E const& ex, std::span<token_range const> ranges, basic_plan<typename E::memory>& p) const {
    detail::expects(static_cast<int>(ranges.size()) == p.heads(), "keep_outside",
                    "needs a range for each head of the plan", "heads", p.heads(), "ranges", ranges.size());
    for (int h = 0; h < p.heads(); ++h) {
      auto const& r = ranges[static_cast<std::size_t>(h)];
      detail::expects(0 <= r.begin && r.begin <= r.end && r.end <= p.before(h), "keep_outside",
                      "a range must lie within the head's tokens", "begin", r.begin, "end", r.end);
      detail::expects(p.after(h) == p.before(h) - r.size(), "keep_outside",
                      "the plan has room for another number of tokens", "room", p.after(h), "kept",
                      p.before(h) - r.size());
    }
    kernel<keep_outside_fn, E>::run(ex, ranges, p);
  }
};
inline constexpr keep_outside_fn keep_outside{};

/// The plan that keeps everything.
template <executor E>
basic_plan<typename E::memory> keep_all(E const& ex, std::span<int const> lengths) {
  auto p = make_plan(ex, lengths, lengths);
  std::pmr::vector<token_range> const nothing(lengths.size(), ex.resource());
  keep_outside(ex, nothing, p);
  return p;
}

template <class F>
struct kernel<keep_outside_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const&, std::span<token_range const> ranges, plan& p) {
    for (int h = 0; h < p.heads(); ++h) {
      auto const range = ranges[static_cast<std::size_t>(h)];
      auto const before = static_cast<std::size_t>(range.begin);
      detail::number_run(p.kept(h).first(before), 0);
      detail::number_run(p.kept(h).subspan(before), range.end);
    }
  }
};

template <class F>
struct kernel<keep_outside_fn, basic_cpu<F>> : kernel<keep_outside_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
