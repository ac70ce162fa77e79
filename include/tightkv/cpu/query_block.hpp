// SPDX-License-Identifier: Apache-2.0
/// The attention that blocks of queries give to the keys of a head. Each product is computed once: the numerators of a
/// block wait until their sum is known.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>

#include <tightkv/cpu/attention.hpp>

namespace tightkv::detail {
inline namespace TIGHTKV_KERNELS_FOR {

/// Some queries of a KV head in panels, and the attention they give. `Keys` are as `key_rows`.
template <class Keys>
class query_block {
 public:
  static constexpr int most_queries = 64;
  static constexpr int first_keys = 12;    // which say where a query's logits are
  static constexpr int keys_at_once = 96;  // so that their logits are looked at in the second cache

  query_block(Keys const& keys, instruction_set set, std::pmr::memory_resource* memory)
      : keys_(keys),
        set_(set),
        queries_(most_queries * static_cast<std::size_t>(keys.dim()), memory),
        panels_(queries_.size(), memory),
        logits_(most_queries * static_cast<std::size_t>(keys.padded()), memory) {}

  /// Takes query i of query head q, after those it has.
  template <class V>
  void take(V const& view, int q, int i) {
    int const r = count_++;
    q_[r] = q;
    float* const query = queries_.data() + index(r);
    counts_[r] = keys_.write_query(view, q, i, query);
    visible_[r] = keys_.tokens() - view.queries.tokens(q) + i + 1;
    reference_[r] = 0.0F;
    if constexpr (view_with_row_lse<V>) {
      given_[r] = view.row_lse(q, i) * log2_e;
      counts_[r] = counts_[r] && is_finite(given_[r]);
      reference_[r] = given_[r];
    }
    if (!counts_[r]) hide(r);
  }
  bool full() const noexcept { return count_ == most_queries; }

  /// Keys [0, visible()) are seen by some of them.
  int visible() const noexcept { return visible_of(0, count_); }

  /// Multiplies the queries with keys [begin, end), at most `keys_at_once`. Returns whether all products are finite.
  template <class V>
  bool multiply(V const& view, int begin, int end) {
    if (begin == 0) pack();
    settle(end);
    bool finite = true;
    each_panel(count_, [&](auto set, int first, int width) {
      int const last = std::min(end, visible_of(first, width));
      int const few = begin == 0 ? std::min(last, first_keys) : begin;
      if (begin < few) finite = multiply(set, view, first, width, begin, few) && finite;
      if (few < last) finite = multiply(set, view, first, width, few, last) && finite;
    });
    return finite;
  }

  /// Lets the queries go when they have met their keys. Their attention is added to `total_of(q)`, the sums of their
  /// query heads: as the next queries meet their keys, while what both need is fetched, or by `settle()`.
  template <class V, class F>
  void release(V const&, F const& total_of) {
    settle();
    owed_.count = count_;
    owed_.visible = visible();
    owed_.settled = 0;
    for (int r = 0; r < count_; ++r) {
      owed_.total[r] = total_of(q_[r]);
      owed_.factor[r] = 0.0F;
      if (!counts_[r]) continue;
      if constexpr (view_with_row_lse<V>) {
        owed_.factor[r] = std::exp2(reference_[r] - given_[r]);
      } else if (sum_[r] > 0.0) {
        owed_.factor[r] = static_cast<float>(1.0 / sum_[r]);
      }
    }
    int const whole = whole_vectors(owed_.visible);
    each_panel(count_, [&](auto, int first, int width) {
      std::fill(logits(first, width, visible_of(first, width)), logits(first, width, whole), 0.0F);
    });
    count_ = 0;
  }

  void settle() { settle(owed_.visible); }

 private:
  static constexpr float room = 64.0F;  // 2^64 times as many as there are tokens is a float

  std::ptrdiff_t index(int query) const noexcept { return static_cast<std::ptrdiff_t>(query) * keys_.dim(); }

  /// The logits of key j and a panel of queries.
  float* logits(int first, int width, int j) noexcept {
    return logits_.data() + std::ptrdiff_t{first} * keys_.padded() + std::ptrdiff_t{j} * width;
  }

  int visible_of(int first, int count) const noexcept {
    return count > 0 ? *std::max_element(visible_ + first, visible_ + first + count) : 0;
  }

  /// The same for a panel.
  template <class Set, class V>
  bool multiply(Set set, V const& view, int first, int width, int begin, int end) {
    float* const x = logits(first, width, begin);
    float const* const panel = panels_.data() + index(first);
    auto seen = seen_logits_by(set, reference_ + first, width);
    if (width == 16) {
      keys_.template multiply<1>(set, view, begin, end, panel, x, seen);
    } else {
      keys_.template multiply<Set::panel_vectors>(set, view, begin, end, panel, x, seen);
    }
    bool const all_see = end <= *std::min_element(visible_ + first, visible_ + first + width);
    bool const known = *std::min_element(sum_ + first, sum_ + first + width) > 0.0;
    if (!all_see || !known || !seen.are_finite() || !seen.are_below(room)) mend(set, first, width, begin, end);
    float sum[most_queries];
    exponentials_of_keys(set, x, end - begin, width, sum);
    for (int r = 0; r < width; ++r) sum_[first + r] += static_cast<double>(sum[r]);
    return seen.are_finite();
  }

  /// Adds the attention owed to keys up to `end`: what is there must be used before it is written over.
  void settle(int end) {
    int const begin = owed_.settled;
    if (count_ > 0 && (count_ == most_queries) != (owed_.count == most_queries)) end = owed_.visible;  // lies elsewhere
    end = whole_vectors(std::min(end, owed_.visible));
    if (end <= begin) return;
    owed_.settled = end;
    for (int of = 0, past = 0; of < owed_.count; of = past) {  // queries of a query head
      float factor[most_queries] = {};
      for (; past < owed_.count && owed_.total[past] == owed_.total[of]; ++past) factor[past] = owed_.factor[past];
      each_panel(owed_.count, [&](auto set, int first, int width) {
        if (first >= past || first + width <= of) return;
        add_weighted(set, logits(first, width, begin), end - begin, width, factor + first, owed_.total[of] + begin);
      });
    }
  }

  /// Query r counts for nothing, and gives no trouble.
  void hide(int r) {
    std::fill_n(queries_.data() + index(r), keys_.dim(), 0.0F);
    reference_[r] = 0.0F;
    counts_[r] = false;
  }

  void pack() {
    std::fill_n(sum_, most_queries, 0.0);
    for (int r = count_; r % 16 != 0; ++r) {
      visible_[r] = visible_[count_ - 1];
      hide(r);
    }
    each_panel(count_, [&](auto set, int first, int width) {
      pack_queries(set, queries_.data() + index(first), width, keys_.dim(), panels_.data() + index(first));
    });
  }

  /// Calls `f(set, first, width)` for each panel of `count` queries.
  template <class F>
  void each_panel(int count, F const& f) const {
    with_vectors(set_, [&](auto set) {
      int const width = count == most_queries ? 16 * set.panel_vectors : 16;
      for (int first = 0; first < count; first += width) f(set, first, width);
    });
  }

  /// Masks logits that do not count, and moves the references of queries whose logits are unknown or far above them.
  template <class Set>
  void mend(Set set, int first, int width, int begin, int end) {
    float step[most_queries];
    float factor[most_queries];
    float one[most_queries];
    float none[most_queries];
    mask_logits(set, logits(first, width, begin), begin, end - begin, width, visible_ + first, step);
    for (int r = 0; r < width; ++r) {
      bool const known = sum_[first + r] > 0.0;
      if (!is_finite(step[r]) || (known && step[r] <= room)) step[r] = 0.0F;
      factor[r] = known ? std::exp2(-step[r]) : 1.0F;
      reference_[first + r] += step[r];
      sum_[first + r] *= static_cast<double>(factor[r]);
      one[r] = 1.0F;
      none[r] = 0.0F;
    }
    if (std::all_of(step, step + width, [](float s) { return s == 0.0F; })) return;
    adjust_keys(set, logits(first, width, begin), end - begin, width, one, step);
    adjust_keys(set, logits(first, width, 0), begin, width, factor, none);
  }

  /// Attention of queries that is not yet added.
  struct debt {
    int count = 0;
    int visible = 0;
    int settled = 0;  // keys
    float factor[most_queries];
    double* total[most_queries];
  };

  Keys const& keys_;
  instruction_set set_;
  int count_ = 0;
  debt owed_;
  scratch<float> queries_;
  scratch<float> panels_;
  scratch<float> logits_;
  alignas(64) std::int32_t visible_[most_queries];
  alignas(64) float reference_[most_queries];
  int q_[most_queries];  // query heads
  bool counts_[most_queries];
  float given_[most_queries];  // logarithms of normalisers
  double sum_[most_queries];
};

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace tightkv::detail
