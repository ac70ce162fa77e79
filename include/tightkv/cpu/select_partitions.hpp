// SPDX-License-Identifier: Apache-2.0
/// The best tokens of each partition, by the same thresholds.
#pragma once

#include <cstddef>
#include <memory_resource>
#include <vector>

#include <tightkv/cpu/select_top_k.hpp>
#include <tightkv/ops/select_partitions.hpp>

namespace tightkv {

template <class F>
struct kernel<select_partitions_fn, basic_cpu<F>> {
  static void run(basic_cpu<F> const& ex, matrix_view<float const> scores, select_partitions_fn::parameters const& s,
                  plan& p) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<select_partitions_fn, basic_plain_cpu<F>>::run(ex, scores, s, p);
    }
    std::pmr::vector<std::ptrdiff_t> nans(static_cast<std::size_t>(p.heads()), ex.resource());
    ex.for_each_index(p.heads(), [&](int h) {
      int* out = p.kept(h).data();
      int t = 0;
      detail::fast_selector select(ex.instructions(), ex.resource());
      int const judged = s.partitions.judged(h, p.before(h));
      if (judged > 0) {
        for (; t < s.partitions.first[static_cast<std::size_t>(h)]; ++t) *out++ = t;
      }
      for (int i = 0; i < judged; ++i, t += s.partitions.lag, out += s.quota) {
        nans[static_cast<std::size_t>(h)] += select.keep(scores.row(h), {t, t + s.partitions.lag}, s.quota, out);
      }
      for (; t < p.before(h); ++t) *out++ = t;
    });
    for (auto const n : nans) p.nan_scores += n;
  }
};

}  // namespace tightkv
