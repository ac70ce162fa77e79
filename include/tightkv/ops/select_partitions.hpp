// SPDX-License-Identifier: Apache-2.0
/// `select_partitions(ex, scores, parameters, plan)`: the best tokens of each partition.
#pragma once

#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/ops/lag_scores.hpp>
#include <tightkv/ops/select_top_k.hpp>

namespace tightkv {

/// Fills `p`: of each judged partition the best `quota` tokens stay, and every token outside them. Order, ties and NaN
/// as `select_top_k`.
struct select_partitions_fn {
  struct parameters {
    lag_partitions partitions{};
    int quota = 0;
  };

  /// How many tokens of a head of `tokens` tokens stay.
  static int kept(parameters const& s, int head, int tokens) noexcept {
    return tokens - s.partitions.judged(head, tokens) * (s.partitions.lag - s.quota);
  }

  template <executor E>
  void operator()(E const& ex, matrix_view<float const, typename E::memory> scores, parameters const& s,
                  basic_plan<typename E::memory>& p) const {
    check(scores, s, p);
    kernel<select_partitions_fn, E>::run(ex, scores, s, p);
  }

  template <class Memory>
  static void check(matrix_view<float const, Memory> scores, parameters const& s, plan_shape const& p) {
    detail::expects(s.partitions.lag >= 1, "select_partitions", "lag must be at least 1", "lag", s.partitions.lag);
    detail::expects(0 <= s.quota && s.quota <= s.partitions.lag, "select_partitions",
                    "the quota must lie between 0 and the partition's length", "quota", s.quota, "lag",
                    s.partitions.lag);
    detail::expects(scores.rows == p.heads() && static_cast<int>(s.partitions.first.size()) == p.heads(),
                    "select_partitions", "needs scores and a first token for each head of the plan", "heads", p.heads(),
                    "rows", scores.rows);
    for (int h = 0; h < p.heads(); ++h) {
      detail::expects(p.after(h) == kept(s, h, p.before(h)) && p.before(h) <= scores.cols, "select_partitions",
                      "the plan has room for another number of tokens", "room", p.after(h), "kept",
                      kept(s, h, p.before(h)));
    }
  }
};
inline constexpr select_partitions_fn select_partitions{};

template <class F>
struct kernel<select_partitions_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, matrix_view<float const> scores,
                  select_partitions_fn::parameters const& s, plan& p) {
    std::pmr::vector<std::ptrdiff_t> nans(static_cast<std::size_t>(p.heads()), ex.resource());
    ex.for_each_index(p.heads(), [&](int h) {
      int* out = p.kept(h).data();
      int t = 0;
      std::pmr::vector<std::uint64_t> scratch(ex.resource());
      int const judged = s.partitions.judged(h, p.before(h));
      if (judged > 0) {
        for (; t < s.partitions.first[static_cast<std::size_t>(h)]; ++t) *out++ = t;
      }
      for (int i = 0; i < judged; ++i, t += s.partitions.lag, out += s.quota) {
        nans[static_cast<std::size_t>(h)] +=
            detail::keep_best_of(scores.row(h), {t, t + s.partitions.lag}, s.quota, out, scratch);
      }
      for (; t < p.before(h); ++t) *out++ = t;
    });
    for (auto const n : nans) p.nan_scores += n;
  }
};

}  // namespace tightkv

#include <tightkv/cpu/select_partitions.hpp>  // the fast kernel
