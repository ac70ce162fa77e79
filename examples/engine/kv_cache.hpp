// SPDX-License-Identifier: Apache-2.0
/// The engine's KV cache of one sequence: one allocation, rows of each KV head contiguous, a length per layer and head.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include <tightkv/core/error.hpp>
#include <tightkv/core/half.hpp>
#include <tightkv/core/matrix.hpp>

#include "convert.hpp"

namespace engine {

struct cache_shape {
  int layers = 0;
  int kv_heads = 0;
  int capacity = 0;  ///< rows there is room for, per layer and head
  int head_dim = 0;
};

/// Keys (after RoPE) and values, each `[layer][kv_head][capacity][head_dim]`. Methods may leave heads of different
/// lengths; positions are counted on regardless, so a token keeps its position when others are evicted.
///
///     engine::kv_cache<tightkv::half> cache{{.layers = 30, .kv_heads = 3, .capacity = 4096, .head_dim = 64}};
///
/// Copies are independent: prefill once, then compress each copy in another way.
template <tightkv::numeric_element T>
class kv_cache {
 public:
  using value_type = T;

  explicit kv_cache(cache_shape const& s) : shape_(s) {
    tightkv::detail::expects(s.layers >= 1 && s.kv_heads >= 1, "engine::kv_cache", "there must be layers and heads",
                             "layers", s.layers, "kv_heads", s.kv_heads);
    tightkv::detail::expects(s.capacity >= 1 && s.head_dim >= 1, "engine::kv_cache", "there must be room for a row",
                             "capacity", s.capacity, "head_dim", s.head_dim);
    lengths_.resize(index(s.layers, 0));
    memory_.resize(2 * index(s.layers, 0) * static_cast<std::size_t>(head_stride()));
  }

  cache_shape const& shape() const noexcept { return shape_; }

  /// The first row of the layer's first head; a row is `head_dim` elements, the next head `head_stride()` further on.
  T* keys(int layer) noexcept { return memory_.data() + offset(layer); }
  T const* keys(int layer) const noexcept { return memory_.data() + offset(layer); }
  T* values(int layer) noexcept { return keys(layer) + memory_.size() / 2; }
  T const* values(int layer) const noexcept { return keys(layer) + memory_.size() / 2; }
  std::ptrdiff_t head_stride() const noexcept { return std::ptrdiff_t{shape_.capacity} * shape_.head_dim; }

  /// Rows in use, per KV head.
  std::span<int const> lengths(int layer) const noexcept {
    return {lengths_.data() + index(layer, 0), static_cast<std::size_t>(shape_.kv_heads)};
  }
  int length(int layer, int head) const noexcept { return lengths_[index(layer, head)]; }
  int longest() const noexcept { return std::ranges::max(lengths_); }

  /// The position of the next token: how many there have been, evicted ones included.
  int next_position() const noexcept { return next_position_; }

  /// What the layer's rows were compacted to: `lengths[h]` rows of head h are left, at its front.
  void compacted(int layer, std::span<int const> lengths) {
    tightkv::detail::expects(0 <= layer && layer < shape_.layers, "engine::kv_cache", "there is no such layer", "layer",
                             layer);
    tightkv::detail::expects(lengths.size() == static_cast<std::size_t>(shape_.kv_heads), "engine::kv_cache",
                             "there must be a length for each head", "lengths", lengths.size(), "kv_heads",
                             shape_.kv_heads);
    for (int h = 0; h < shape_.kv_heads; ++h) {
      auto const left = lengths[static_cast<std::size_t>(h)];
      tightkv::detail::expects(0 <= left && left <= length(layer, h), "engine::kv_cache", "compacting cannot add rows",
                               "length", left, "was", length(layer, h));
    }
    std::ranges::copy(lengths, lengths_.begin() + static_cast<std::ptrdiff_t>(index(layer, 0)));
  }

  /// Writes rows behind those in use, tokens x (kv_head, head_dim) each. They count once `appended` says so.
  void write(int layer, tightkv::matrix_view<float const> new_keys, tightkv::matrix_view<float const> new_values) {
    for (int h = 0; h < shape_.kv_heads; ++h) {
      auto to = h * head_stride() + std::ptrdiff_t{length(layer, h)} * shape_.head_dim;
      for (int i = 0; i < new_keys.rows; ++i, to += shape_.head_dim) {
        from_float(new_keys.row(i) + h * shape_.head_dim, shape_.head_dim, keys(layer) + to);
        from_float(new_values.row(i) + h * shape_.head_dim, shape_.head_dim, values(layer) + to);
      }
    }
  }

  /// The rows of `tokens` more tokens have been written behind those in use, in every layer and head.
  void appended(int tokens) {
    for (int& length : lengths_) length += tokens;
    next_position_ += tokens;
  }

  /// Bytes of the rows in use, keys and values.
  std::size_t bytes_in_use() const noexcept {
    std::size_t rows = 0;
    for (int const length : lengths_) rows += static_cast<std::size_t>(length);
    return 2 * rows * static_cast<std::size_t>(shape_.head_dim) * sizeof(T);
  }

 private:
  std::size_t index(int layer, int head) const noexcept {
    return static_cast<std::size_t>(layer) * static_cast<std::size_t>(shape_.kv_heads) + static_cast<std::size_t>(head);
  }
  std::ptrdiff_t offset(int layer) const noexcept { return layer * shape_.kv_heads * head_stride(); }

  cache_shape shape_;
  int next_position_ = 0;
  std::vector<int> lengths_;
  std::vector<T> memory_;
};

}  // namespace engine
