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

/// The range of each channel over a reference partition, as what scoring needs: the low end and 1 / range.
struct channel_ranges {
  std::pmr::vector<float> low;
  std::pmr::vector<float> scale;  // 1 / (high - low); 0 marks a channel that is left out
  int channels = 0;               // that count

  channel_ranges(int head_dim, std::pmr::memory_resource* memory)
      : low(static_cast<std::size_t>(head_dim), memory),
        scale(static_cast<std::size_t>(head_dim), memory),
        high_(low, memory) {}

  template <class Head>
  void measure(Head const& rows, int begin, int end) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    std::fill(low.begin(), low.end(), infinity);
    std::fill(high_.begin(), high_.end(), -infinity);
    for (int t = begin; t < end; ++t) {
      auto const r = rows[t];
      if (!all_finite(r)) continue;
      for (std::size_t c = 0; c < low.size(); ++c) {
        auto const x = static_cast<float>(r[static_cast<int>(c)]);
        low[c] = std::min(low[c], x);
        high_[c] = std::max(high_[c], x);
      }
    }
    channels = 0;
    for (std::size_t c = 0; c < low.size(); ++c) {
      float const range = high_[c] - low[c];
      bool const counts = range > 0.0F && is_finite(range) && is_finite(1.0F / range);
      scale[c] = counts ? 1.0F / range : 0.0F;
      channels += counts ? 1 : 0;
    }
  }

 private:
  std::pmr::vector<float> high_;
};

/// The unbiased standard deviation of the row's normalised channels.
template <class Row>
float spread(Row const& r, channel_ranges const& ranges) {
  if (!all_finite(r)) return unjudged;
  if (ranges.channels < 2) return 0.0F;
  auto const each_channel = [&](auto&& f) {
    for (int d = 0; d < r.size; ++d) {
      auto const c = static_cast<std::size_t>(d);
      if (ranges.scale[c] != 0.0F) f(d, static_cast<float>(r[d]) - ranges.low[c], ranges.scale[c]);
    }
  };
  lane_sum sum;
  each_channel([&](int d, float above_low, float scale) { sum.add_product(d, above_low, scale); });
  float const mean = sum.total() / static_cast<float>(ranges.channels);
  lane_sum squares;
  each_channel([&](int d, float above_low, float scale) {
    float const deviation = fma(above_low, scale, -mean);
    squares.add_product(d, deviation, deviation);
  });
  float const u = std::sqrt(squares.total() / static_cast<float>(ranges.channels - 1));
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
    ranges.measure(rows, begin + lag, begin + 2 * lag);
    for (int t = 0; t < lag; ++t) out[t] = detail::spread(rows[begin + t], ranges);
    detail::softmax(out, lag);
  }
};

}  // namespace tightkv

#include <tightkv/cpu/lag_scores.hpp>  // the fast kernel
