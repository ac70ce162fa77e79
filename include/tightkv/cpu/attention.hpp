// SPDX-License-Identifier: Apache-2.0
/// The attention of many queries on the keys of a head: products in tiles that stay in registers, and each product
/// computed once, because the logits of a block of queries stay in the second cache until their sum is known.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/scratch.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/ops/attention_rows.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/attention.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv::detail {
inline namespace TIGHTKV_KERNELS_FOR {

inline int whole_vectors(int count) noexcept { return (count + 15) / 16 * 16; }

/// The most queries that are multiplied with the keys before their logits are looked at.
inline constexpr int most_queries_at_once = 64;

/// The keys of one head in tiles.
class packed_keys {
 public:
  packed_keys(int tokens, int head_dim, instruction_set set, std::pmr::memory_resource* memory)
      : dim_(head_dim),
        set_(set),
        width_(width_of(set)),
        count_((tokens + width_ - 1) / width_),
        tiles_(static_cast<std::size_t>(padded()) * static_cast<std::size_t>(head_dim), memory),
        finite_(static_cast<std::size_t>(padded()), memory) {}

  int count() const noexcept { return count_; }
  int padded() const noexcept { return count_ * width_; }  // tokens
  std::int32_t const* finite() const noexcept { return finite_.data(); }

  /// As many queries as leave their logits in the second cache.
  int queries_at_once() const {
    constexpr int logits_at_once = 128 * 1024;  // 512 KiB
    int const step = step_of(set_);
    return std::clamp(logits_at_once / std::max(1, padded()) / step, 1, most_queries_at_once / step) * step;
  }

  template <class P>
  void pack(P const& keys, int head, int tile, std::pmr::memory_resource* memory) {
    int const begin = tile * width_;
    auto const rows = keys.head(head);
    int const end = std::min(begin + width_, rows.tokens());
    int const known = has_whole_rows<P> ? std::min(begin + 2 * width_, rows.tokens()) : end;
    row_table<P> table(memory);
    auto const* const at = table.of(rows, dim_, begin, known);
    float* const to = tiles_.data() + static_cast<std::ptrdiff_t>(begin) * dim_;
    with_vectors(set_,
                 [&](auto set) { pack_tile(set, at, end - begin, known - begin, dim_, to, finite_.data() + begin); });
  }

  /// Multiplies neighbouring queries, side by side, with the keys that they see: the first sees `visible`, each one
  /// more than the one before it. Rows of logits are `padded()` apart. There is room for `queries_at_once()` of each.
  void multiply(float const* queries, int count, int visible, float* logits) const {
    int const step = step_of(set_);
    int const whole = (count + step - 1) / step * step;
    with_vectors(set_, [&](auto set) {
      multiply_tiles(set, queries, whole, tiles_.data(), visible, padded(), dim_, logits, padded());
    });
  }

 private:
  static int step_of(instruction_set set) {
    int step = 1;
    with_vectors(set, [&](auto chosen) { step = chosen.tile_queries; });
    return step;
  }
  static int width_of(instruction_set set) {
    int width = 0;
    with_vectors(set, [&](auto chosen) { width = chosen.tile_vectors * 16; });
    return width;
  }

  int dim_;
  instruction_set set_;
  int width_;
  int count_;
  scratch<float> tiles_;
  scratch<std::int32_t> finite_;
};

inline constexpr float log2_e = 1.44269504F;

/// Writes query i of query head q to `out`, over sqrt(head_dim), and times log2 e, since 2^x is quicker than e^x.
/// Returns whether it is finite.
template <class V>
bool scaled_query(V const& view, instruction_set set, int q, int i, float* out) {
  auto const row = view.queries.head(q)[i];
  float const scale = log2_e / std::sqrt(static_cast<float>(row.size));
  bool finite = true;
  if constexpr (has_whole_rows<decltype(V::queries)>) {
    with_vectors(set, [&](auto chosen) { finite = scale_row(chosen, row.data, row.size, scale, out); });
  } else {
    for (int d = 0; d < row.size; ++d) out[d] = static_cast<float>(row[d]) * scale;
    finite = all_finite(row);
  }
  return finite;
}

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

/// Sums, per key, of the probabilities that queries give it.
struct attention_sums {
  attention_sums(int padded, std::pmr::memory_resource* memory)
      : sum(static_cast<std::size_t>(padded), memory), total(static_cast<std::size_t>(padded), memory) {
    std::fill(sum.begin(), sum.end(), 0.0F);
    std::fill(total.begin(), total.end(), 0.0);
  }

  scratch<float> sum;  // of a block of queries, 0 in between
  scratch<double> total;
};

/// Room for a block of queries and their logits. `Keys` are as `packed_keys`.
template <class Keys>
class attention_block {
 public:
  attention_block(Keys const& keys, int head_dim, instruction_set set, std::pmr::memory_resource* memory)
      : keys_(keys),
        dim_(head_dim),
        set_(set),
        rows_(keys.queries_at_once()),
        queries_(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(head_dim), memory),
        logits_(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(keys.padded()), memory) {
    std::fill(queries_.begin(), queries_.end(), 0.0F);
    auto const* const tokens = keys.finite();
    for (int j = 0; j < keys.padded(); ++j) finite_keys_ += tokens[j] != 0 ? 1 : 0;
  }

  int rows_at_once() const noexcept { return rows_; }

  /// Adds the attention of queries [begin, end) of query head q, at most `rows_at_once()` of them.
  template <class V>
  void add(V const& view, int q, int begin, int end, attention_sums& sums) {
    bool finite[most_queries_at_once];
    for (int i = begin; i < end; ++i)
      finite[i - begin] = scaled_query(view, set_, q, i, queries_.data() + (i - begin) * dim_);
    logit_rows<V> const rows{view, q, begin, end - begin, finite, logits_.data(), keys_.padded()};
    bool const all_keys_finite = finite_keys_ == view.tokens(q / group_size(view));
    keys_.multiply(queries_.data(), end - begin, rows.visible(0), logits_.data());
    with_vectors(set_, [&](auto set) {
      add_attention(set, rows, keys_.finite(), all_keys_finite, sums.sum.data());
      move_into(set, sums.sum.data(), whole_vectors(rows.visible(end - begin - 1)), sums.total.data());
    });
  }

 private:
  Keys const& keys_;
  int dim_;
  instruction_set set_;
  int rows_;
  int finite_keys_ = 0;
  scratch<float> queries_;
  scratch<float> logits_;
};

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
      // A key that is not finite shows in its products.
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
