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
    auto const queries = view.queries.head(q);
    int const hidden = view.tokens(q / group_size(view)) - queries.tokens();  // tokens before the first query's
    float const scale = 1.0F / std::sqrt(static_cast<float>(dim_));
    std::fill(queries_.begin(), queries_.end(), 0.0F);
    for (int i = begin; i < end; ++i) {
      auto const row = queries[i];
      for (int d = 0; d < dim_; ++d) queries_[index(i - begin, d, dim_)] = static_cast<float>(row[d]) * scale;
    }
    int const tiles = std::min(keys_.count(), (hidden + end + keys_.width() - 1) / keys_.width());
    std::ptrdiff_t const stride = keys_.padded();
    with_vectors(set_, [&](auto set) {
      int const whole = (end - begin + step_ - 1) / step_ * step_;
      multiply_tiles(set, queries_.data(), whole, keys_.tiles(), tiles, dim_, logits_.data(), stride);
      for (int i = begin; i < end; ++i) {
        if (!all_finite(queries[i])) continue;
        int const visible = hidden + i + 1;
        float* const x = logits_.data() + (i - begin) * stride;
        float const most = mask_logits(set, x, keys_.finite(), visible);
        if (most == -std::numeric_limits<float>::infinity()) continue;
        if constexpr (view_with_row_lse<V>) {
          float const lse = view.row_lse(q, i);
          if (is_finite(lse)) add_exponentials(set, lse, x, visible, sum_.data());
        } else {
          double const sum = exponentials(set, x, visible, most);
          add_times(set, static_cast<float>(1.0 / sum), x, visible, sum_.data());
        }
      }
      move_into(set, sum_.data(), std::min(keys_.padded(), hidden + end), total_.data());
    });
  }

 private:
  static std::size_t index(int row, int col, int stride) noexcept {
    return static_cast<std::size_t>(row) * static_cast<std::size_t>(stride) + static_cast<std::size_t>(col);
  }

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

}  // namespace tightkv::detail
