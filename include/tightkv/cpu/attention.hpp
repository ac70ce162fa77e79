// SPDX-License-Identifier: Apache-2.0
/// The attention of many queries on the keys of a head: products in tiles that stay in registers, and each product
/// computed once, because the logits of a block of queries stay in the second cache until their sum is known.
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

/// The most queries that are multiplied with the keys before their logits are looked at.
inline constexpr int most_queries_at_once = 64;

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

/// The keys of one head in tiles.
class packed_keys {
 public:
  template <class V>
  packed_keys(V const& view, int tokens, instruction_set set, std::pmr::memory_resource* memory)
      : kind_(products_for(view, set)),
        head_dim_(view.keys.head_dim()),
        dim_(kind_ == products::of_pairs ? head_dim_ / 2 : head_dim_),
        set_(set),
        width_(width_of(set)),
        count_((tokens + width_ - 1) / width_),
        tiles_(static_cast<std::size_t>(padded()) * static_cast<std::size_t>(dim_), memory),
        finite_(static_cast<std::size_t>(padded()), memory) {}

  int dim() const noexcept { return dim_; }  // floats that a query takes
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
    auto const* const at = table.of(rows, head_dim_, begin, known);
    float* const to = tiles_.data() + static_cast<std::ptrdiff_t>(begin) * dim_;
    std::int32_t* const finite = finite_.data() + begin;
    with_vectors(set_, [&](auto set) {
      using value_type = typename P::value_type;
      if constexpr (std::is_same_v<value_type, bfloat16>) {
        if (kind_ == products::of_pairs) {
          pack_tile<float>(set, at, end - begin, known - begin, dim_, to, finite);
          return mark_finite(set, at, end - begin, head_dim_, finite);
        }
      }
      pack_tile<value_type>(set, at, end - begin, known - begin, dim_, to, finite);
    });
  }

  /// Writes query i of query head q as `multiply` wants it. Returns whether it is finite.
  template <class V>
  bool write_query(V const& view, int q, int i, float* out) const {
    if constexpr (may_be_pairs<V>) {
      if (kind_ == products::of_pairs) return whole_query(view, set_, q, i, out);
    }
    return scaled_query(view, set_, q, i, out);
  }

  /// Multiplies neighbouring queries of a view, side by side, with the keys that they see: the first sees `visible`,
  /// each one more than the one before it. Rows of logits are `padded()` apart. There is room for `queries_at_once()`
  /// of each.
  template <class V>
  void multiply(V const&, float const* queries, int count, int visible, float* logits) const {
    int const step = step_of(set_);
    int const whole = (count + step - 1) / step * step;
    with_vectors(set_, [&](auto set) {
      with_products<V>(set, [&](auto const& products_of_rows) {
        multiply_tiles(set, products_of_rows, queries, whole, tiles_.data(), visible, padded(), logits, padded());
      });
    });
  }

 private:
  /// Calls `f` with what multiplies tiles of such keys.
  template <class V, class Set, class F>
  void with_products(Set set, F const& f) const {
#if defined(TIGHTKV_X86_64_V4)
    if constexpr (may_be_pairs<V> && std::is_same_v<Set, x86_64_v4::vectors>) {
      if (kind_ == products::of_pairs) return f(x86_64_v4::bfloat16_products{dim_, logit_scale(head_dim_)});
    }
#endif
    f(float_products_of(set, dim_));
  }
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

  products kind_;
  int head_dim_;
  int dim_;
  instruction_set set_;
  int width_;
  int count_;
  scratch<float> tiles_;
  scratch<std::int32_t> finite_;
};

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
  attention_block(Keys const& keys, instruction_set set, std::pmr::memory_resource* memory)
      : keys_(keys),
        set_(set),
        rows_(keys.queries_at_once()),
        queries_(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(keys.dim()), memory),
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
    for (int i = begin; i < end; ++i) {
      finite[i - begin] = keys_.write_query(view, q, i, queries_.data() + (i - begin) * keys_.dim());
    }
    logit_rows<V> const rows{view, q, begin, end - begin, finite, logits_.data(), keys_.padded()};
    bool const all_keys_finite = finite_keys_ == view.tokens(q / group_size(view));
    keys_.multiply(view, queries_.data(), end - begin, rows.visible(0), logits_.data());
    with_vectors(set_, [&](auto set) {
      add_attention(set, rows, keys_.finite(), all_keys_finite, sums.sum.data());
      move_into(set, sums.sum.data(), whole_vectors(rows.visible(end - begin - 1)), sums.total.data());
    });
  }

 private:
  Keys const& keys_;
  instruction_set set_;
  int rows_;
  int finite_keys_ = 0;
  scratch<float> queries_;
  scratch<float> logits_;
};

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace tightkv::detail
