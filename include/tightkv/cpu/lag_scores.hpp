// SPDX-License-Identifier: Apache-2.0
/// LagKV's scores in one pass over keys and values: while a partition is scored, the next but one is fetched.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/ops/lag_scores.hpp>

namespace tightkv::detail {

/// The range of each channel over a partition, as scoring needs it. Arrays of `dim` floats, rounded up to whole
/// vectors.
struct lag_channels {
  float* low;          // 0 for a channel that is left out
  float* scale;        // 1 / (high - low), or 0
  std::int32_t* used;  // all bits, or none
};

}  // namespace tightkv::detail

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/lag_scores.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv {
namespace detail {

/// Judges partitions of rows of one type, keys or values.
template <class T>
class lag_judge {
 public:
  lag_judge(int head_dim, int lag, instruction_set set, std::pmr::memory_resource* memory)
      : dim_(head_dim), lag_(lag), set_(set), floats_(2 * padded(), memory), used_(padded(), memory) {}

  /// The softmax of the spreads of `rows[0 ... lag)`, against the range of the next `lag` rows. With `fetch`, there are
  /// at least as many again, and they will be needed soon.
  void judge(T const* const* rows, bool fetch, float* score) {
    with_vectors(set_, [&](auto set) {
      lag_channels const channels{floats_.data(), floats_.data() + padded(), used_.data()};
      int const counted = dim_ < fewest_channels ? -1 : measure(set, rows + lag_, lag_, dim_, channels);
      if (counted >= 2) {
        spreads_of(set, rows, lag_, dim_, channels, counted, fetch ? rows + 2 * lag_ : nullptr, score);
      } else {
        judge_with_care(rows, score);
      }
      softmax_of(set, score, lag_);
    });
  }

 private:
  static constexpr int fewest_channels = 64 / static_cast<int>(sizeof(T));

  std::size_t padded() const noexcept { return static_cast<std::size_t>(dim_ + 15) / 16 * 16; }

  /// As the plain kernel does: where a row must be left out, or hardly any channel has a range.
  void judge_with_care(T const* const* rows, float* score) {
    channel_ranges ranges(dim_, floats_.get_allocator().resource());
    ranges.measure(pointed_rows<T>{rows, dim_}, lag_, 2 * lag_);
    for (int t = 0; t < lag_; ++t) score[t] = spread(row<T const>{rows[t], dim_}, ranges);
  }

  int dim_;
  int lag_;
  instruction_set set_;
  std::pmr::vector<float> floats_;
  std::pmr::vector<std::int32_t> used_;
};

}  // namespace detail

template <class F>
struct kernel<lag_scores_fn, basic_cpu<F>> {
  template <class V>
  static void run(basic_cpu<F> const& ex, V const& view, lag_scores_fn::parameters const& p, matrix_view<float> out) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<lag_scores_fn, basic_plain_cpu<F>>::run(ex, view, p, out);
    }
    int const lag = p.partitions.lag;
    auto const pieces = cut(view, p.partitions, ex.resource());
    for (int h = 0; h < view.heads(); ++h) {
      int const begin = p.partitions.first[static_cast<std::size_t>(h)];
      int const judged = p.partitions.judged(h, view.tokens(h));
      float* const score = out.row(h);
      std::fill(score, score + (judged > 0 ? begin : 0), unjudged);
      std::fill(score + (judged > 0 ? begin + judged * lag : 0), score + view.tokens(h), unjudged);
    }
    ex.for_each_index(static_cast<int>(pieces.size()),
                      [&](int i) { score(ex, view, pieces[static_cast<std::size_t>(i)], p, out); });
  }

 private:
  /// Neighbouring partitions of a head. The rows after them are measured by this piece and scored by the next.
  struct piece {
    int head;
    int begin;  // token
    int partitions;
  };

  template <class V>
  static std::pmr::vector<piece> cut(V const& view, lag_partitions const& partitions,
                                     std::pmr::memory_resource* memory) {
    constexpr int rows_of_a_piece = 2048;
    int const most = std::max(1, rows_of_a_piece / partitions.lag);
    std::pmr::vector<piece> pieces(memory);
    for (int h = 0; h < view.heads(); ++h) {
      int begin = partitions.first[static_cast<std::size_t>(h)];
      for (int left = partitions.judged(h, view.tokens(h)); left > 0; left -= most, begin += most * partitions.lag)
        pieces.push_back({h, begin, std::min(most, left)});
    }
    return pieces;
  }

  template <class V>
  static void score(basic_cpu<F> const& ex, V const& view, piece const& at, lag_scores_fn::parameters const& p,
                    matrix_view<float> out) {
    int const lag = p.partitions.lag;
    int const end = at.begin + (at.partitions + 1) * lag;
    float* const score = out.row(at.head) + at.begin;

    using keys = decltype(V::keys);
    detail::row_table<keys> key_table(ex.resource());
    auto const* const key_rows = key_table.of(view.keys.head(at.head), view.keys.head_dim(), at.begin, end);
    detail::lag_judge<typename keys::value_type> key_judge(view.keys.head_dim(), lag, ex.instructions(), ex.resource());
    if constexpr (view_with_values<V>) {
      if (p.value_weight != 0.0F) {
        using values = decltype(V::values);
        detail::row_table<values> value_table(ex.resource());
        auto const* const value_rows = value_table.of(view.values.head(at.head), view.values.head_dim(), at.begin, end);
        detail::lag_judge<typename values::value_type> value_judge(view.values.head_dim(), lag, ex.instructions(),
                                                                   ex.resource());
        std::pmr::vector<float> of_values(static_cast<std::size_t>(lag), ex.resource());
        for (int i = 0; i < at.partitions; ++i) {
          key_judge.judge(key_rows + i * lag, i + 2 <= at.partitions, score + i * lag);
          value_judge.judge(value_rows + i * lag, i + 2 <= at.partitions, of_values.data());
          detail::with_vectors(ex.instructions(), [&](auto set) {
            add_weighted(set, p.value_weight, of_values.data(), lag, score + i * lag);
          });
        }
        return;
      }
    }
    for (int i = 0; i < at.partitions; ++i)
      key_judge.judge(key_rows + i * lag, i + 2 <= at.partitions, score + i * lag);
  }
};

}  // namespace tightkv
