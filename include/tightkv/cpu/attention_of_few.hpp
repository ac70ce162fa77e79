// SPDX-License-Identifier: Apache-2.0
/// The attention of a few queries, as in a step of decoding: keys are read once, where they are.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>

#include <tightkv/cpu/attention.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/attention_of_few.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv::detail {
inline namespace TIGHTKV_KERNELS_FOR {

/// A few neighbouring queries of one query head, and their logits, `stride` floats apart, of which each query sees one
/// more than the query before it.
template <class V>
struct logit_rows {
  V const& view;
  int q;
  int first;  // query
  int count;
  bool const* finite;  // of each
  float* logits;
  std::ptrdiff_t stride;

  int visible(int r) const noexcept {
    return view.tokens(q / group_size(view)) - view.queries.tokens(q) + first + r + 1;
  }
  float* row(int r) const noexcept { return logits + r * stride; }
};

/// Turns a row of `count` logits into numerators of its softmax, and returns what to multiply them with. As a rule all
/// logits count; where some do not, as `finite` says or as their values show, they are masked.
template <class Set>
float softmax_row(Set set, float* logits, std::int32_t const* finite, bool all_keys_finite, int count) {
  float most = all_keys_finite ? greatest_logit(set, logits, count) : std::numeric_limits<float>::infinity();
  if (!is_finite(most)) most = mask_logits(set, logits, finite, count);
  if (most == -std::numeric_limits<float>::infinity()) {
    std::fill_n(logits, count, 0.0F);
    return 0.0F;
  }
  double sum = exponentials(set, logits, count, most);
  if (sum != sum) {  // a logit was NaN
    sum = 0.0;
    for (int j = 0; j < count; ++j) {
      if (logits[j] != logits[j]) logits[j] = 0.0F;
      sum += static_cast<double>(logits[j]);
    }
  }
  return static_cast<float>(1.0 / sum);
}

/// Adds the attention of some queries to `sum`: rows of keys that count, `finite`, and of no other.
template <int Rows, class Set, class V>
void add_attention_of(Set set, logit_rows<V> const& rows, std::int32_t const* finite, bool all_keys_finite,
                      float* sum) {
  constexpr float masked = -std::numeric_limits<float>::infinity();
  int const count = whole_vectors(rows.visible(Rows - 1));
  float factor[Rows];  // or the normaliser's logarithm
  for (int r = 0; r < Rows; ++r) {
    float* const logits = rows.row(r);
    bool counts = rows.finite[r];
    if constexpr (view_with_row_lse<V>) {
      factor[r] = rows.view.row_lse(rows.q, rows.first + r) * log2_e;
      counts = counts && is_finite(factor[r]);
      if (!counts) factor[r] = 0.0F;
      std::fill(logits + (counts ? rows.visible(r) : 0), logits + count, masked);
      if (counts && !all_keys_finite) mask_logits(set, logits, finite, count);
    } else {
      std::fill(logits + (counts ? rows.visible(r) : 0), logits + count, counts ? masked : 0.0F);
      factor[r] = counts ? softmax_row(set, logits, finite, all_keys_finite, count) : 0.0F;
    }
  }
  if constexpr (view_with_row_lse<V>) {
    add_exponentials<Rows>(set, factor, rows.logits, rows.stride, count, sum);
  } else {
    add_times<Rows>(set, factor, rows.logits, rows.stride, count, sum);
  }
}

/// The same for any number of queries.
template <class Set, class V>
void add_attention(Set set, logit_rows<V> rows, std::int32_t const* finite, bool all_keys_finite, float* sum) {
  constexpr int at_once = 4;
  for (; rows.count >= at_once; rows.count -= at_once) {
    add_attention_of<at_once>(set, rows, finite, all_keys_finite, sum);
    rows.first += at_once;
    rows.finite += at_once;
    rows.logits += at_once * rows.stride;
  }
  for (; rows.count > 0; --rows.count) {
    add_attention_of<1>(set, rows, finite, all_keys_finite, sum);
    rows.first += 1;
    rows.finite += 1;
    rows.logits += rows.stride;
  }
}

/// Asks for a row that will be needed.
inline void fetch(void const* row, std::ptrdiff_t bytes) noexcept {
  constexpr std::ptrdiff_t line = 64;
  for (std::ptrdiff_t b = 0; b < bytes; b += line) __builtin_prefetch(static_cast<char const*>(row) + b, 0, 2);
}

/// A few queries, as in a step of decoding, against keys that are read once, where they are.
class attention_of_few {
 public:
  attention_of_few(int tokens, int queries, instruction_set set, std::pmr::memory_resource* memory)
      : set_(set),
        tokens_(tokens),
        stride_(whole_vectors(tokens)),
        logits_(static_cast<std::size_t>(stride_) * static_cast<std::size_t>(queries), memory),
        finite_(static_cast<std::size_t>(stride_), memory),
        sum_(static_cast<std::size_t>(stride_), memory),
        memory_(memory) {
    std::fill(finite_.begin(), finite_.end(), 0);
    clear();
  }

  std::int32_t const* finite() const noexcept { return finite_.data(); }
  float const* sum() const noexcept { return sum_.data(); }

  /// Multiplies the last `queries` queries of each query head of KV head h with its keys.
  template <class V>
  void multiply(V const& view, int h, int queries) {
    using keys = decltype(V::keys);
    int const dim = view.keys.head_dim();
    auto const count = static_cast<std::size_t>(group_size(view) * queries);
    scratch<float> const scaled(count * static_cast<std::size_t>(dim), memory_);
    for (int r = 0; r < group_size(view) * queries; ++r) {
      int const q = h * group_size(view) + r / queries;
      finite_queries_[r] =
          scaled_query(view, set_, q, view.queries.tokens(q) - queries + r % queries, scaled.data() + r * dim);
    }
    constexpr int at_once = 4;  // keys: a few at a time, so that what is fetched meanwhile is asked for evenly
    constexpr int ahead = 24;
    constexpr int looked_up = 256;
    row_table<keys> table(memory_);
    for (int first = 0; first < view.tokens(h); first += looked_up) {
      int const last = std::min(first + looked_up, view.tokens(h));
      int const known = has_whole_rows<keys> ? std::min(last + ahead, view.tokens(h)) : last;
      auto const* const at = table.of(view.keys.head(h), dim, first, known);
      for (int begin = first; begin < last; begin += at_once) {
        for (int j = begin + ahead; j < std::min(begin + ahead + at_once, known); ++j)
          fetch(at[j - first], row_bytes(view.keys));
        multiply_some(at + (begin - first), begin, std::min(begin + at_once, last), dim, scaled.data(),
                      static_cast<int>(count));
      }
      judge(at, first, last, dim);
    }
    for (int j = 0; j < tokens_; ++j) finite_keys_ += finite_[static_cast<std::size_t>(j)] != 0 ? 1 : 0;
  }

  /// Adds the attention of the last `queries` queries of query head q.
  template <class V>
  void add(V const& view, int q, int queries) {
    int const r = q % group_size(view) * queries;
    logit_rows<V> const rows{view,      q,      view.queries.tokens(q) - queries, queries, finite_queries_ + r,
                             logits(r), stride_};
    with_vectors(set_,
                 [&](auto set) { add_attention(set, rows, finite_.data(), finite_keys_ == tokens_, sum_.data()); });
  }
  void clear() { std::fill(sum_.begin(), sum_.end(), 0.0F); }

  static constexpr int most_queries = 16;  // of all query heads that share keys

 private:
  /// Multiplies all queries with keys [begin, end), which are at `rows`.
  template <class T>
  void multiply_some(T const* const* rows, int begin, int end, int dim, float const* queries, int count) {
    with_vectors(set_, [&](auto set) {
      multiply_rows_with(set, rows, end - begin, dim, queries, count, logits(0) + begin, stride_);
    });
  }

  /// Finds out which of keys [begin, end) are finite. A key that is not shows in its products.
  template <class T>
  void judge(T const* const* rows, int begin, int end, int dim) {
    with_vectors(set_, [&](auto set) {
      if (all_are_finite(set, logits(0) + begin, end - begin)) {
        std::fill(finite_.data() + begin, finite_.data() + end, -1);
      } else {
        mark_finite(set, rows, end - begin, dim, finite_.data() + begin);
      }
    });
  }
  float* logits(int r) noexcept { return logits_.data() + static_cast<std::ptrdiff_t>(r) * stride_; }

  instruction_set set_;
  int tokens_;
  int stride_;
  int finite_keys_ = 0;
  bool finite_queries_[most_queries] = {};
  scratch<float> logits_;
  scratch<std::int32_t> finite_;
  scratch<float> sum_;
  std::pmr::memory_resource* memory_;
};

/// Whether keys are not worth packing for so many queries of all query heads that share them. None at all, as where
/// nothing was appended, leave no room to write to.
inline bool are_few(int queries) noexcept { return 0 < queries && queries <= attention_of_few::most_queries; }

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace tightkv::detail
