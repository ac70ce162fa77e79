// SPDX-License-Identifier: Apache-2.0
/// LagKV's scores in one pass over keys and values: while a partition is scored, the next but one is fetched.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/runs.hpp>
#include <tightkv/cpu/memory_order.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/scratch.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/ops/lag_scores.hpp>

namespace tightkv::detail {

/// `channel_scales` to be filled: arrays of `dim` floats, rounded up to whole vectors with zeros.
struct lag_channels {
  float* middle;
  float* scale;
};

/// Rows of `dim` channels, `lag` of each kind.
template <class T>
struct lag_rows {
  T const* const* judged;
  T const* const* reference;
  std::span<T const* const> upcoming;  // at most twice `lag` that will be needed soon, if any
  T* copies;                           // where the reference is copied to, row after row; null: nowhere
  int lag;
  int dim;
};

}  // namespace tightkv::detail

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/lag_scores.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv {
namespace detail {
inline namespace TIGHTKV_KERNELS_FOR {

/// Judges neighbouring partitions of rows of one type, keys or values, one after another.
template <class T>
class lag_judge {
 public:
  lag_judge(int head_dim, int lag, instruction_set set, std::pmr::memory_resource* memory)
      : dim_(head_dim),
        lag_(lag),
        set_(set),
        floats_(2 * padded() + 16, memory),
        ranges_(head_dim, memory),
        copies_(0, memory),
        copied_(memory) {}

  /// `begin` allocates nothing.
  void reserve() {
    if (copied_.size() > 0 || partition() * sizeof(T) > most_copied) return;
    copies_ = scratch<T>(2 * partition(), copied_.get_allocator().resource());
    copied_.resize(2 * static_cast<std::size_t>(lag_));
    for (std::size_t t = 0; t < copied_.size(); ++t) copied_[t] = copies_.data() + t * static_cast<std::size_t>(dim_);
  }

  /// Begins with a partition at `rows`, after which come others.
  void begin(T const* const* rows) {
    bool const apart = far_apart(rows[0], rows[1]);
    if (apart) reserve();
    copies_rows_ = apart && copied_.size() > 0;
    turn_ = 0;
    for (int t = 0; copies_rows_ && t < lag_; ++t)
      std::copy_n(rows[t], dim_, half(0) + static_cast<std::ptrdiff_t>(t) * dim_);
  }

  /// The softmax of the spreads of `rows[0 ... lag)`, against the range of the next `lag` rows. Meanwhile `upcoming`
  /// rows are fetched.
  void judge(T const* const* rows, std::span<T const* const> upcoming, float* score) {
    T const* const* const judged = copies_rows_ ? copied_.data() + turn_ * lag_ : rows;
    turn_ ^= 1;
    T* const copies = copies_rows_ ? half(turn_) : nullptr;
    with_vectors(set_, [&](auto set) {
      lag_rows<T> const at{judged, rows + lag_, upcoming, copies, lag_, dim_};
      bool const judged_fast = dim_ >= fewest_channels && spreads_of(set, at, {middle(), middle() + padded()}, score);
      if (!judged_fast) judge_with_care(rows, score);
      softmax_of(set, score, lag_);
    });
  }

 private:
  static constexpr int fewest_channels = 64 / static_cast<int>(sizeof(T));
  /// Rows that lie far apart share few sets of a cache, where three partitions do not stay: two of them are copied when
  /// they are measured, if they are small enough for a cache at all.
  static constexpr std::uintptr_t far = 2048;             // bytes
  static constexpr std::size_t most_copied = 128 * 1024;  // bytes of a partition

  static bool far_apart(T const* a, T const* b) noexcept {
    auto const x = reinterpret_cast<std::uintptr_t>(a);
    auto const y = reinterpret_cast<std::uintptr_t>(b);
    return std::max(x, y) - std::min(x, y) >= far;
  }
  std::size_t partition() const noexcept { return static_cast<std::size_t>(lag_) * static_cast<std::size_t>(dim_); }
  T* half(int i) noexcept { return copies_.data() + static_cast<std::size_t>(i) * partition(); }

  std::size_t padded() const noexcept { return static_cast<std::size_t>(dim_ + 15) / 16 * 16; }
  /// At the start of a cache line: vectors that lie across two are slow.
  float* middle() noexcept {
    return floats_.data() + (64 - reinterpret_cast<std::uintptr_t>(floats_.data()) % 64) / sizeof(float) % 16;
  }

  /// As the plain kernel does: where a row must be left out, or hardly any channel has a range.
  void judge_with_care(T const* const* rows, float* score) {
    auto const scales = ranges_.measure(pointed_rows<T>{rows, dim_}, lag_, 2 * lag_);
    for (int t = 0; t < lag_; ++t) score[t] = spread(row<T const>{rows[t], dim_}, scales);
  }

  int dim_;
  int lag_;
  instruction_set set_;
  std::pmr::vector<float> floats_;
  channel_ranges ranges_;
  scratch<T> copies_;  // of two partitions, by turns
  std::pmr::vector<T const*> copied_;
  bool copies_rows_ = false;
  int turn_ = 0;  // the half of `copies_` in which the partition to be judged is
};

/// The keys, or the values, of the partitions that are scored next.
template <class P>
class lag_plane {
 public:
  lag_plane(P const& rows, int lag, instruction_set set, std::pmr::memory_resource* memory)
      : plane_(rows), lag_(lag), table_(memory), next_table_(memory), judge_(rows.head_dim(), lag, set, memory) {}

  void reserve(int rows) {
    table_.reserve(rows);
    next_table_.reserve(2 * lag_);
    judge_.reserve();
  }
  void look_up(int head, int begin, int end) {
    rows_ = {table_.of(plane_.head(head), plane_.head_dim(), begin, end), static_cast<std::size_t>(end - begin)};
    next_ = {};
  }
  void look_ahead(int head, int begin) {
    if constexpr (has_whole_rows<P>) {
      int const two = 2 * lag_;
      next_ = {next_table_.of(plane_.head(head), plane_.head_dim(), begin, begin + two), static_cast<std::size_t>(two)};
    }
  }
  void judge(int from, float* score) {
    if (from == 0) judge_.begin(rows_.data());
    auto const judged = rows_.subspan(static_cast<std::size_t>(from));
    auto const lag = static_cast<std::size_t>(lag_);
    judge_.judge(judged.data(), judged.size() >= 3 * lag ? judged.subspan(2 * lag, lag) : next_, score);
  }

 private:
  using pointers = std::span<typename P::value_type const* const>;

  P plane_;
  int lag_;
  row_table<P> table_;
  row_table<P> next_table_;
  lag_judge<typename P::value_type> judge_;
  pointers rows_;
  pointers next_;
};

/// Scores partitions one after another, keys and values of each together.
template <class V>
class lag_scorer {
 public:
  lag_scorer(V const& view, lag_scores_fn::parameters const& p, instruction_set set, std::pmr::memory_resource* memory)
      : lag_(p.partitions.lag),
        weight_(p.value_weight),
        set_(set),
        keys_(view.keys, lag_, set, memory),
        of_values_(memory) {
    if constexpr (view_with_values<V>) {
      if (weight_ == 0.0F) return;
      values_.emplace(view.values, lag_, set, memory);
      of_values_.resize(static_cast<std::size_t>(lag_));
    }
  }

  /// `look_up` of at most so many rows allocates nothing.
  void reserve(int rows) {
    keys_.reserve(rows);
    if constexpr (view_with_values<V>) {
      if (values_) values_->reserve(rows);
    }
  }
  /// Chooses the rows [begin, end) of a head. `score` judges their partitions, all but the last.
  void look_up(int head, int begin, int end) {
    keys_.look_up(head, begin, end);
    if constexpr (view_with_values<V>) {
      if (values_) values_->look_up(head, begin, end);
    }
  }
  /// Names the two partitions that come after the rows chosen: of another head, as a rule. They are fetched while the
  /// last partition is scored.
  void look_ahead(int head, int begin) {
    keys_.look_ahead(head, begin);
    if constexpr (view_with_values<V>) {
      if (values_) values_->look_ahead(head, begin);
    }
  }
  void score(int partition, float* score) {
    int const from = partition * lag_;
    keys_.judge(from, score);
    if constexpr (view_with_values<V>) {
      if (!values_) return;
      values_->judge(from, of_values_.data());
      with_vectors(set_, [&](auto set) { add_weighted(set, weight_, of_values_.data(), lag_, score); });
    }
  }

 private:
  int lag_;
  float weight_;
  instruction_set set_;
  lag_plane<decltype(V::keys)> keys_;
  std::conditional_t<view_with_values<V>, std::optional<lag_plane<decltype(V::values)>>, absent> values_;
  std::pmr::vector<float> of_values_;
};

}  // namespace TIGHTKV_KERNELS_FOR

/// The scores of the tokens of head h outside its judged partitions.
inline void mark_not_judged(lag_partitions const& partitions, int h, int tokens, float* score) {
  int const judged = partitions.judged(h, tokens);
  int const begin = judged > 0 ? partitions.first[static_cast<std::size_t>(h)] : 0;
  fill_run({score, score + begin}, unjudged);
  fill_run({score + begin + judged * partitions.lag, score + tokens}, unjudged);
}

/// Heads side by side share lines of memory, unless they begin with one, and its pages. So they are judged together,
/// partition by partition, if there is room in a cache for three partitions of all heads: otherwise each in turn.
template <class V>
int heads_judged_together(V const& view, int lag) {
  constexpr std::ptrdiff_t room = 512 * 1024;  // bytes
  using keys_type = decltype(V::keys);
  if constexpr (has_whole_rows<keys_type>) {
    auto const between_tokens = token_stride_of_heads_side_by_side(view.keys);
    if (between_tokens == 0 || lag > room / (6 * between_tokens)) return 1;
    return std::max(1, view.keys.heads_per_layer());
  } else {
    return 1;
  }
}

/// How many partitions are looked up at once, of so many rows, at least one.
inline int partitions_at_once(int rows) noexcept { return std::max(1, 2048 / rows); }

}  // namespace detail

template <class F>
struct kernel<lag_scores_fn, basic_cpu<F>> {
  template <class V>
  static void run(basic_cpu<F> const& ex, V const& view, lag_scores_fn::parameters const& p, matrix_view<float> out) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<lag_scores_fn, basic_plain_cpu<F>>::run(ex, view, p, out);
    }
    auto const pieces = cut(view, p.partitions, ex.resource());
    for (int h = 0; h < view.heads(); ++h) detail::mark_not_judged(p.partitions, h, view.tokens(h), out.row(h));
    ex.for_each_index(static_cast<int>(pieces.size()),
                      [&](int i) { score(ex, view, pieces[static_cast<std::size_t>(i)], p, out); });
  }

 private:
  /// Neighbouring partitions, so many from number `begin` on, of heads [first, last).
  struct piece {
    int first;
    int last;
    int begin;
    int partitions;
  };

  template <class V>
  static std::pmr::vector<piece> cut(V const& view, lag_partitions const& partitions,
                                     std::pmr::memory_resource* memory) {
    int const together = detail::heads_judged_together(view, partitions.lag);
    int const most = detail::partitions_at_once(partitions.lag * together);
    std::pmr::vector<piece> pieces(memory);
    for (int first = 0; first < view.heads(); first += together) {
      int const last = std::min(first + together, view.heads());
      int judged = 0;
      for (int h = first; h < last; ++h) judged = std::max(judged, partitions.judged(h, view.tokens(h)));
      for (int begin = 0; begin < judged; begin += most)
        pieces.push_back({first, last, begin, std::min(most, judged - begin)});
    }
    return pieces;
  }

  template <class V>
  static void score(basic_cpu<F> const& ex, V const& view, piece const& at, lag_scores_fn::parameters const& p,
                    matrix_view<float> out) {
    int const lag = p.partitions.lag;
    auto const judged = [&](int h) { return p.partitions.judged(h, view.tokens(h)) - at.begin; };
    auto const first_row = [&](int h) { return p.partitions.first[static_cast<std::size_t>(h)] + at.begin * lag; };
    std::pmr::vector<std::optional<detail::lag_scorer<V>>> scorers(static_cast<std::size_t>(at.last - at.first),
                                                                   ex.resource());
    for (int h = at.first; h < at.last; ++h) {
      auto& scorer = scorers[static_cast<std::size_t>(h - at.first)].emplace(view, p, ex.instructions(), ex.resource());
      if (judged(h) <= 0) continue;
      // The partition after the last is its reference; one more belongs to the piece that is next, as a rule.
      auto const rows =
          std::min<std::ptrdiff_t>(view.tokens(h) - first_row(h), (at.partitions + 2) * std::ptrdiff_t{lag});
      scorer.look_up(h, first_row(h), first_row(h) + static_cast<int>(rows));
    }
    for (int i = 0; i < at.partitions; ++i) {
      for (int h = at.first; h < at.last; ++h) {
        if (i < judged(h))
          scorers[static_cast<std::size_t>(h - at.first)]->score(i, out.row(h) + first_row(h) + i * lag);
      }
    }
  }
};

}  // namespace tightkv
