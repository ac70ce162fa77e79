// SPDX-License-Identifier: Apache-2.0
/// The attention of many queries on the keys of a head. Queries lie in the lanes of vectors, so that keys are read
/// where they are, and sums over the keys need no sums across lanes. Each product is computed once: the numerators of a
/// block of queries wait until their sum is known.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <type_traits>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/cpu/products.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/scratch.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/ops/attention_rows.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/attention.inl>
#include <tightkv/cpu/targets/each.inl>

#if defined(TIGHTKV_X86_64_V4)
#include <tightkv/cpu/targets/begin_x86_64_v4_bf16.inl>
namespace tightkv::detail::x86_64_v4 {
#include <tightkv/cpu/kernels/bfloat16_products.inl>
}  // namespace tightkv::detail::x86_64_v4
#include <tightkv/cpu/targets/end.inl>
#endif

namespace tightkv::detail {
inline namespace TIGHTKV_KERNELS_FOR {

inline int whole_vectors(int count) noexcept { return (count + 15) / 16 * 16; }

inline constexpr float log2_e = 1.44269504F;

/// What products of queries and keys are multiplied with, since 2^x is quicker than e^x.
inline float logit_scale(int head_dim) { return log2_e / std::sqrt(static_cast<float>(head_dim)); }

/// Writes query i of query head q to `out`, scaled. Returns whether it is finite.
template <class V>
bool scaled_query(V const& view, instruction_set set, int q, int i, float* out) {
  auto const row = view.queries.head(q)[i];
  float const scale = logit_scale(row.size);
  bool finite = true;
  if constexpr (has_whole_rows<decltype(V::queries)>) {
    with_vectors(set, [&](auto chosen) { finite = scale_row(chosen, row.data, row.size, scale, out); });
  } else {
    for (int d = 0; d < row.size; ++d) out[d] = static_cast<float>(row[d]) * scale;
    finite = all_finite(row);
  }
  return finite;
}

/// Writes it as it is.
template <class V>
bool whole_query(V const& view, instruction_set set, int q, int i, float* out) {
  auto const row = view.queries.head(q)[i];
  std::int32_t finite = 0;
  if constexpr (has_whole_rows<decltype(V::queries)>) {
    std::memcpy(out, row.data, static_cast<std::size_t>(row.size) * sizeof *row.data);
    with_vectors(set, [&](auto chosen) { mark_finite(chosen, &row.data, 1, row.size, &finite); });
  }
  return finite != 0;
}

/// How the channels of queries and keys are multiplied: as floats, or as pairs of bfloat16, each in the place of a
/// float.
enum class products { of_floats, of_pairs };

/// Views whose channels may be multiplied in pairs: nothing of that is compiled for others.
template <class V>
concept may_be_pairs = std::is_same_v<typename decltype(V::keys)::value_type, bfloat16> &&
    std::is_same_v<typename decltype(V::queries)::value_type, bfloat16> && has_whole_rows<decltype(V::keys)> &&
    has_whole_rows<decltype(V::queries)>;

template <class V>
products products_for(V const& view, instruction_set set) noexcept {
  constexpr int whole = 8;  // channels that are packed at once
  bool const fit = may_be_pairs<V> && view.keys.head_dim() % whole == 0;
  return fit && multiplies_bfloat16(set) ? products::of_pairs : products::of_floats;
}

/// The keys of one head, side by side: where they are, if they are that, or copies as floats.
class key_rows {
 public:
  template <class V>
  key_rows(V const& view, int h, instruction_set set, std::pmr::memory_resource* memory)
      : key_rows(view, h, set, products_for(view, set), memory) {}

  template <class V>
  key_rows(V const& view, int h, instruction_set set, products kind, std::pmr::memory_resource* memory)
      : kind_(kind),
        head_dim_(view.keys.head_dim()),
        dim_(kind_ == products::of_pairs ? head_dim_ / 2 : head_dim_),
        set_(set),
        tokens_(view.tokens(h)),
        finite_(static_cast<std::size_t>(padded()), memory),
        copies_(0, memory) {
    std::fill(finite_.begin(), finite_.end(), -1);
    if constexpr (has_whole_rows<decltype(V::keys)>) in_place_ = find(view.keys.head(h));
    if (in_place_) return;
    copies_ = {static_cast<std::size_t>(padded()) * static_cast<std::size_t>(dim_), memory};
    std::fill(copies_.begin() + index(tokens_), copies_.end(), 0.0F);
    rows_ = copies_.data();
  }

  int dim() const noexcept { return dim_; }  // floats that a row takes
  int tokens() const noexcept { return tokens_; }
  int padded() const noexcept { return whole_vectors(tokens_ + at_once - 1); }
  std::int32_t const* finite() const noexcept { return finite_.data(); }

  /// Copies keys [begin, end) that cannot stay where they are: before they are multiplied, and once.
  template <class P>
  void prepare(P const& keys, int head, int begin, int end, std::pmr::memory_resource* memory) {
    if (in_place_) return;
    row_table<P> table(memory);
    auto const* const at = table.of(keys.head(head), head_dim_, begin, end);
    if (kind_ == products::of_floats) {
      with_vectors(set_, [&](auto set) {
        unpack_rows(set, at, end - begin, head_dim_, copies_.data() + index(begin), head_dim_);
      });
      return;
    }
    for (int j = begin; j < end; ++j)
      std::memcpy(copies_.data() + index(j), at[j - begin], static_cast<std::size_t>(head_dim_) * sizeof **at);
  }

  /// Finds out which of keys [begin, end) are finite. All are taken to be: a key that is not shows in its products.
  template <class P>
  void judge(P const& keys, int head, int begin, int end, std::pmr::memory_resource* memory) {
    row_table<P> table(memory);
    auto const* const at = table.of(keys.head(head), head_dim_, begin, end);
    with_vectors(set_, [&](auto set) { mark_finite(set, at, end - begin, head_dim_, finite_.data() + begin); });
  }

  /// Writes query i of query head q as `multiply` wants it. Returns whether it is finite.
  template <class V>
  bool write_query(V const& view, int q, int i, float* out) const {
    if constexpr (may_be_pairs<V>) {
      if (kind_ == products::of_pairs) return whole_query(view, set_, q, i, out);
    }
    return scaled_query(view, set_, q, i, out);
  }

  /// Multiplies keys [begin, end) of a view with a panel of queries.
  template <int Vectors, class V, class Set, class Seen>
  void multiply(Set set, V const&, int begin, int end, float const* panel, float* logits, Seen& seen) const {
    constexpr int step = Set::panel_keys;
    constexpr int width = 16 * Vectors;
    with_products<V>(set, [&](auto const& products) {
      int const more = (end - begin) % step;
      int const whole = end - begin - more;
      multiply_keys<Vectors>(set, products, row(begin), whole, row(tokens_), panel, logits, seen);
      if (more == 0) return;
      // The last few are multiplied with those before them, or with zeros that follow copies.
      int const skipped = in_place_ ? step - more : 0;
      float of_last[step * width];
      multiply_keys<Vectors>(set, products, row(end - more - skipped), step, row(tokens_), panel, of_last, seen);
      std::copy_n(of_last + skipped * width, more * width, logits + whole * width);
    });
  }

 protected:
  instruction_set set() const noexcept { return set_; }
  float const* row(int token) const noexcept { return rows_ + index(token); }

 private:
  static constexpr int at_once = 6;  // keys, on any machine

  std::ptrdiff_t index(int token) const noexcept { return static_cast<std::ptrdiff_t>(token) * dim_; }

  /// Finds rows that can stay where they are.
  template <class Head>
  bool find(Head const& rows) {
    using value_type = std::remove_cvref_t<decltype(*rows[0].data)>;
    constexpr bool of_floats = std::is_same_v<value_type, float>;
    if (tokens_ < at_once || (!of_floats && kind_ != products::of_pairs)) return false;
    row_finder<Head> find(rows);
    auto const* const first = find(0);
    for (int j = 1; j < tokens_; ++j) {
      if (find(j) != first + std::ptrdiff_t{j} * head_dim_) return false;
    }
    rows_ = reinterpret_cast<float const*>(first);
    return true;
  }

  /// Calls `f` with what multiplies such keys.
  template <class V, class Set, class F>
  void with_products(Set set, F const& f) const {
#if defined(TIGHTKV_X86_64_V4)
    if constexpr (may_be_pairs<V> && std::is_same_v<Set, x86_64_v4::vectors>) {
      if (kind_ == products::of_pairs) return f(x86_64_v4::bfloat16_products{dim_, logit_scale(head_dim_)});
    }
#endif
    f(float_products_of(set, dim_));
  }

  products kind_;
  int head_dim_;
  int dim_;
  instruction_set set_;
  int tokens_;
  bool in_place_ = false;
  float const* rows_ = nullptr;
  scratch<std::int32_t> finite_;
  scratch<float> copies_;
};

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
