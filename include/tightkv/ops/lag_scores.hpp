// SPDX-License-Identifier: Apache-2.0
/// `lag_scores(ex, view, partitions, out)`: how much each token of a partition differs from the partition after it.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/ops/checks.hpp>
#include <tightkv/view/kv_view.hpp>

namespace tightkv {

/// Partitions of `lag` tokens from token `first[h]` of head h on. The last whole partition is reference only.
struct lag_partitions {
  std::span<int const> first{};
  int lag = 128;

  /// Partitions of head h that are judged, given its length.
  int judged(int h, int tokens) const noexcept {
    return std::max(0, (tokens - first[static_cast<std::size_t>(h)]) / lag - 1);
  }
};

/// For row z of a judged partition, with lo_c and hi_c the range of channel c in the next partition:
///
///     x_c = (z_c - lo_c) / (hi_c - lo_c)     u = standard deviation of x over c (divisor d - 1)
///     out(h, t) = softmax over the partition (u of the key) + value_weight * the same of the value
///
/// Channels with no range (or one whose reciprocal overflows), or an infinite one, are left out (divisor d' - 1); with
/// fewer than two channels u is 0. A row holding a value that is not finite scores NaN and is left out of ranges and
/// softmax. Tokens outside the judged partitions are not read, and get NaN. With `value_weight` 0 values are not read,
/// and may be absent. Liang et al., arXiv:2504.04704. One read of keys and values is enough.
struct lag_scores_fn {
  struct parameters {
    lag_partitions partitions{};
    float value_weight = 1.0F;
  };

  template <executor E, view_with_keys V>
  requires reachable_from<V, E>
  void operator()(E const& ex, V const& view, parameters const& p, scores_view<E> out) const {
    check(view, p, out);
    kernel<lag_scores_fn, E>::run(ex, view, p, out);
  }

  template <view_with_keys V, class Memory>
  static void check(V const& view, parameters const& p, matrix_view<float, Memory> out) {
    detail::check_scores("lag_scores", view.keys, out);
    detail::expects(p.partitions.lag >= 2, "lag_scores", "lag must be at least 2", "lag", p.partitions.lag);
    detail::expects(static_cast<int>(p.partitions.first.size()) == view.heads(), "lag_scores",
                    "needs the first token of each head", "heads", view.heads(), "given", p.partitions.first.size());
    for (int const first : p.partitions.first) {
      detail::expects(first >= 0, "lag_scores", "the first token must not be negative", "first", first);
    }
    detail::expects(std::isfinite(p.value_weight), "lag_scores", "value_weight must be finite", "value_weight",
                    p.value_weight);
    if constexpr (!view_with_values<V>) {
      detail::expects(p.value_weight == 0.0F, "lag_scores", "without values, value_weight must be 0", "value_weight",
                      p.value_weight);
    }
  }
};
inline constexpr lag_scores_fn lag_scores{};

namespace detail {

/// What normalises channels: a channel that counts spans [middle - 1 / (2 scale), middle + 1 / (2 scale)] over the
/// reference partition; of one that does not, both are 0.
struct channel_scales {
  float const* middle;
  float const* scale;
  int channels;  // that count
};

/// The range of each channel over a reference partition.
class channel_ranges {
 public:
  channel_ranges(int head_dim, std::pmr::memory_resource* memory)
      : middle_(static_cast<std::size_t>(head_dim), memory), scale_(middle_, memory) {}

  template <class Head>
  channel_scales measure(Head const& rows, int begin, int end) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    auto& low = middle_;
    auto& high = scale_;
    std::fill(low.begin(), low.end(), infinity);
    std::fill(high.begin(), high.end(), -infinity);
    for (int t = begin; t < end; ++t) {
      auto const r = rows[t];
      if (!all_finite(r)) continue;
      for (std::size_t c = 0; c < low.size(); ++c) {
        auto const x = static_cast<float>(r[static_cast<int>(c)]);
        low[c] = std::min(low[c], x);
        high[c] = std::max(high[c], x);
      }
    }
    int channels = 0;
    for (std::size_t c = 0; c < low.size(); ++c) {
      float const range = high[c] - low[c];
      bool const counts = range > 0.0F && is_finite(range) && is_finite(1.0F / range);
      middle_[c] = counts ? fma(range, 0.5F, low[c]) : 0.0F;
      scale_[c] = counts ? 1.0F / range : 0.0F;
      channels += counts ? 1 : 0;
    }
    return {middle_.data(), scale_.data(), channels};
  }

 private:
  std::pmr::vector<float> middle_;
  std::pmr::vector<float> scale_;
};

inline constexpr float most_cancellation = 16.0F;  // four bits
/// The squared deviations of n numbers from their mean lose digits when taken from sums of x and of x * x: more, the
/// farther from 0 the numbers lie in comparison with their spread. True where that is too much, or a sum is no number.
TIGHTKV_HD inline bool loses_digits(float squared_deviations, float squares) noexcept {
  return !(most_cancellation * squared_deviations >= squares);
}

/// The squared deviations of the row's normalised channels from their mean, which is known.
template <class Row>
float squared_deviations(Row const& r, channel_scales const& of, float mean) {
  lane_sum squares;
  for (int d = 0; d < r.size; ++d) {
    if (of.scale[d] == 0.0F) continue;
    float const deviation = fma(static_cast<float>(r[d]) - of.middle[d], of.scale[d], -mean);
    squares.add_product(d, deviation, deviation);
  }
  return squares.total();
}

/// The unbiased standard deviation of the row's normalised channels. Their ranges lie around 0, so one pass does for
/// all rows but those that lie far to one side.
template <class Row>
float spread(Row const& r, channel_scales const& of) {
  if (!all_finite(r)) return unjudged;
  if (of.channels < 2) return 0.0F;
  lane_sum sum;
  lane_sum squares;
  for (int d = 0; d < r.size; ++d) {
    float const x = fma(static_cast<float>(r[d]) - of.middle[d], of.scale[d], 0.0F);
    sum.add(d, x);
    squares.add_product(d, x, x);
  }
  float const total = sum.total();
  float const all_squares = squares.total();
  float const mean = total * (1.0F / static_cast<float>(of.channels));
  float deviations = fma(-total, mean, all_squares);
  if (loses_digits(deviations, all_squares)) deviations = squared_deviations(r, of, mean);
  float const u = std::sqrt(deviations / static_cast<float>(of.channels - 1));
  return is_finite(u) ? u : unjudged;
}

/// Softmax in place; NaN entries stay and take no part. Summed in 16 lanes like a row.
inline void softmax(float* x, int n) {
  float most = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < n; ++i) most = x[i] > most ? x[i] : most;
  lane_sum sum;
  for (int i = 0; i < n; ++i) {
    if (x[i] != x[i]) continue;
    x[i] = exp(x[i] - most);
    sum.add(i, x[i]);
  }
  float const total = sum.total();
  for (int i = 0; i < n; ++i) x[i] /= total;
}

}  // namespace detail

template <class F>
struct kernel<lag_scores_fn, basic_plain_cpu<F>> {
  template <class V>
  static void run(basic_plain_cpu<F> const& ex, V const& view, lag_scores_fn::parameters const& p,
                  matrix_view<float> out) {
    int const lag = p.partitions.lag;
    ex.for_each_index(view.heads(), [&](int h) {
      std::fill_n(out.row(h), view.tokens(h), unjudged);
      int const judged = p.partitions.judged(h, view.tokens(h));
      if (judged == 0) return;
      std::pmr::vector<float> of_values(static_cast<std::size_t>(lag), ex.resource());
      detail::channel_ranges key_ranges(view.keys.head_dim(), ex.resource());
      int begin = p.partitions.first[static_cast<std::size_t>(h)];
      for (int i = judged; i > 0; --i, begin += lag) {
        float* const score = out.row(h) + begin;
        judge(view.keys.head(h), begin, lag, key_ranges, score);
        if constexpr (view_with_values<V>) {
          if (p.value_weight == 0.0F) continue;
          detail::channel_ranges value_ranges(view.values.head_dim(), ex.resource());
          judge(view.values.head(h), begin, lag, value_ranges, of_values.data());
          for (int t = 0; t < lag; ++t)
            score[t] = detail::fma(p.value_weight, of_values[static_cast<std::size_t>(t)], score[t]);
        }
      }
    });
  }

 private:
  template <class Head>
  static void judge(Head const& rows, int begin, int lag, detail::channel_ranges& ranges, float* out) {
    auto const scales = ranges.measure(rows, begin + lag, begin + 2 * lag);
    for (int t = 0; t < lag; ++t) out[t] = detail::spread(rows[begin + t], scales);
    detail::softmax(out, lag);
  }
};

}  // namespace tightkv

#include <tightkv/cpu/lag_scores.hpp>  // the fast kernel
