// SPDX-License-Identifier: Apache-2.0
/// Selection by a threshold on integer keys: a few passes over the scores of a head, none of which sorts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/cpu/scratch.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/ops/select_top_k.hpp>

namespace tightkv::detail {
inline constexpr std::int32_t worst_key = std::numeric_limits<std::int32_t>::min();  // of a NaN
}  // namespace tightkv::detail

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/select_top_k.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv {
namespace detail {
inline namespace TIGHTKV_KERNELS_FOR {

/// Chooses among the scores of one head after another.
class fast_selector {
 public:
  fast_selector(instruction_set set, std::pmr::memory_resource* memory)
      : set_(set), memory_(memory), spare_(0, memory) {}

  /// As `keep_best_of`.
  std::ptrdiff_t keep(float const* scores, token_range range, int count, int* out) {
    reserve(range.size());
    std::ptrdiff_t nans = 0;
    with_vectors(set_, [&](auto set) {
      nans = best_tokens(set, scores + range.begin, range.size(), count, range.begin, out, spare_.data());
    });
    return nans;
  }

  /// `keep` among at most so many scores allocates nothing.
  void reserve(int scores) {
    if (spare_.size() < padded(scores)) spare_ = scratch<std::int32_t>(padded(scores), memory_);
  }

 private:
  static std::size_t padded(int scores) noexcept { return (static_cast<std::size_t>(scores) + 15) / 16 * 16; }

  instruction_set set_;
  std::pmr::memory_resource* memory_;
  scratch<std::int32_t> spare_;
};

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace detail

template <class F>
struct kernel<select_top_k_fn, basic_cpu<F>> {
  static void run(basic_cpu<F> const& ex, matrix_view<float const> scores, std::span<token_range const> ranges,
                  plan& p) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<select_top_k_fn, basic_plain_cpu<F>>::run(ex, scores, ranges, p);
    }
    std::pmr::vector<std::ptrdiff_t> nans(ranges.size(), ex.resource());
    ex.for_each_index(p.heads(), [&](int h) {
      auto const range = ranges[static_cast<std::size_t>(h)];
      int* out = p.kept(h).data();
      int const best = p.after(h) - (p.before(h) - range.size());
      for (int t = 0; t < range.begin; ++t) *out++ = t;
      detail::fast_selector select(ex.instructions(), ex.resource());
      nans[static_cast<std::size_t>(h)] = select.keep(scores.row(h), range, best, out);
      out += best;
      for (int t = range.end; t < p.before(h); ++t) *out++ = t;
    });
    for (auto const n : nans) p.nan_scores += n;
  }
};

}  // namespace tightkv
