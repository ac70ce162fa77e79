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
#include <tightkv/cpu/mean_cosine.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/ops/attention_rows.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/attention.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv::detail {

/// The keys of one head in tiles.
class packed_keys {
 public:
  packed_keys(int tokens, int head_dim, instruction_set set, std::pmr::memory_resource* memory)
      : dim_(head_dim), set_(set), tiles_(memory), finite_(memory) {
    with_vectors(set_, [&](auto chosen) { width_ = chosen.tile_vectors * 16; });
    count_ = (tokens + width_ - 1) / width_;
    tiles_.resize(static_cast<std::size_t>(padded()) * static_cast<std::size_t>(head_dim));
    finite_.resize(static_cast<std::size_t>(padded()));
  }

  int count() const noexcept { return count_; }
  int width() const noexcept { return width_; }
  int padded() const noexcept { return count_ * width_; }  // tokens
  float const* tiles() const noexcept { return tiles_.data(); }
  std::int32_t const* finite() const noexcept { return finite_.data(); }

  template <class P>
  void pack(P const& keys, int head, int tile, std::pmr::memory_resource* memory) {
    int const begin = tile * width_;
    auto const rows = keys.head(head);
    int const end = std::min(begin + width_, rows.tokens());
    row_table<P> table(memory);
    auto const* const at = table.of(rows, dim_, begin, end);
    float* const to = tiles_.data() + static_cast<std::ptrdiff_t>(begin) * dim_;
    with_vectors(set_, [&](auto set) { pack_tile(set, at, end - begin, dim_, to, finite_.data() + begin); });
  }

 private:
  int dim_;
  instruction_set set_;
  int width_ = 16;
  int count_ = 0;
  std::pmr::vector<float> tiles_;
  std::pmr::vector<std::int32_t> finite_;
};

/// Turns the logits of query i of query head q into probabilities, and adds these to `sum`.
template <class Set, class V>
void add_attention(Set set, V const& view, int q, int i, float* logits, std::int32_t const* finite, float* sum) {
  auto const queries = view.queries.head(q);
  if (!all_finite(queries[i])) return;
  int const visible = view.tokens(q / group_size(view)) - queries.tokens() + i + 1;
  float const most = mask_logits(set, logits, finite, visible);
  if (most == -std::numeric_limits<float>::infinity()) return;
  if constexpr (view_with_row_lse<V>) {
    float const lse = view.row_lse(q, i);
    if (is_finite(lse)) add_exponentials(set, lse, logits, visible, sum);
  } else {
    double const normaliser = exponentials(set, logits, visible, most);
    add_times(set, static_cast<float>(1.0 / normaliser), logits, visible, sum);
  }
}

/// Writes query i of query head q, over sqrt(head_dim), to `out`.
template <class V>
void scaled_query(V const& view, int q, int i, float* out) {
  auto const row = view.queries.head(q)[i];
  float const scale = 1.0F / std::sqrt(static_cast<float>(row.size));
  for (int d = 0; d < row.size; ++d) out[d] = static_cast<float>(row[d]) * scale;
}

/// Sums, per key, of the probabilities that queries give it.
class attention_sums {
 public:
  attention_sums(packed_keys const& keys, int head_dim, instruction_set set, std::pmr::memory_resource* memory)
      : keys_(keys),
        dim_(head_dim),
        set_(set),
        queries_(memory),
        logits_(memory),
        sum_(static_cast<std::size_t>(keys.padded()), memory),
        total_(static_cast<std::size_t>(keys.padded()), memory) {
    with_vectors(set_, [&](auto chosen) { step_ = chosen.tile_queries; });
    constexpr int logits_at_once = 128 * 1024;  // 512 KiB
    rows_ = std::clamp(logits_at_once / std::max(1, keys.padded()) / step_, 1, 8) * step_;
    queries_.resize(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(dim_));
    logits_.resize(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(keys.padded()));
  }

  int rows_at_once() const noexcept { return rows_; }
  std::span<double const> total() const noexcept { return total_; }

  /// Adds those of queries [begin, end) of query head q, at most `rows_at_once()` of them.
  template <class V>
  void add(V const& view, int q, int begin, int end) {
    int const hidden = view.tokens(q / group_size(view)) - view.queries.tokens(q);  // tokens before the first query's
    std::fill(queries_.begin(), queries_.end(), 0.0F);
    for (int i = begin; i < end; ++i) scaled_query(view, q, i, queries_.data() + (i - begin) * dim_);
    int const tiles = std::min(keys_.count(), (hidden + end + keys_.width() - 1) / keys_.width());
    std::ptrdiff_t const stride = keys_.padded();
    with_vectors(set_, [&](auto set) {
      int const whole = (end - begin + step_ - 1) / step_ * step_;
      multiply_tiles(set, queries_.data(), whole, keys_.tiles(), tiles, dim_, logits_.data(), stride);
      for (int i = begin; i < end; ++i)
        add_attention(set, view, q, i, logits_.data() + (i - begin) * stride, keys_.finite(), sum_.data());
      move_into(set, sum_.data(), std::min(keys_.padded(), hidden + end), total_.data());
    });
  }

 private:
  packed_keys const& keys_;
  int dim_;
  instruction_set set_;
  int step_ = 1;
  int rows_ = 1;
  std::pmr::vector<float> queries_;
  std::pmr::vector<float> logits_;
  std::pmr::vector<float> sum_;
  std::pmr::vector<double> total_;
};

/// A few queries, as in a step of decoding, against keys that are read once, where they are.
class attention_of_few {
 public:
  attention_of_few(int tokens, int queries, instruction_set set, std::pmr::memory_resource* memory)
      : set_(set),
        stride_((tokens + 15) / 16 * 16),
        logits_(static_cast<std::size_t>(stride_) * static_cast<std::size_t>(queries), memory),
        finite_(static_cast<std::size_t>(stride_), memory),
        sum_(static_cast<std::size_t>(stride_), memory) {}

  std::int32_t const* finite() const noexcept { return finite_.data(); }
  float const* sum() const noexcept { return sum_.data(); }

  /// Multiplies the last `queries` queries of each query head of KV head h with its keys.
  template <class V>
  void multiply(V const& view, int h, int queries) {
    auto* const memory = logits_.get_allocator().resource();
    using keys = decltype(V::keys);
    int const dim = view.keys.head_dim();
    auto const count = static_cast<std::size_t>(group_size(view) * queries);
    std::pmr::vector<float> scaled(count * static_cast<std::size_t>(dim), memory);
    for (int r = 0; r < group_size(view) * queries; ++r) {
      int const q = h * group_size(view) + r / queries;
      scaled_query(view, q, view.queries.tokens(q) - queries + r % queries, scaled.data() + r * dim);
    }
    constexpr int at_once = 128;  // keys that stay in the first cache for all queries
    row_table<keys> table(memory);
    for (int begin = 0; begin < view.tokens(h); begin += at_once) {
      int const end = std::min(begin + at_once, view.tokens(h));
      auto const* const at = table.of(view.keys.head(h), dim, begin, end);
      with_vectors(set_, [&](auto set) {
        mark_finite(set, at, end - begin, dim, finite_.data() + begin);
        for (int r = 0; r < static_cast<int>(count); ++r)
          products_with(set, at, end - begin, dim, scaled.data() + r * dim, logits(r) + begin);
      });
    }
  }

  /// Adds the attention of the last `queries` queries of query head q.
  template <class V>
  void add(V const& view, int q, int queries) {
    int const first = q % group_size(view) * queries;
    with_vectors(set_, [&](auto set) {
      for (int i = 0; i < queries; ++i)
        add_attention(set, view, q, view.queries.tokens(q) - queries + i, logits(first + i), finite_.data(),
                      sum_.data());
    });
  }
  void clear() { std::fill(sum_.begin(), sum_.end(), 0.0F); }

 private:
  float* logits(int r) noexcept { return logits_.data() + static_cast<std::ptrdiff_t>(r) * stride_; }

  instruction_set set_;
  int stride_;
  std::pmr::vector<float> logits_;
  std::pmr::vector<std::int32_t> finite_;
  std::pmr::vector<float> sum_;
};

/// Whether keys are worth packing for so many queries of all query heads that share them.
inline bool are_few(int queries) noexcept { return queries <= 16; }

}  // namespace tightkv::detail
