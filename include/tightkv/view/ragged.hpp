// SPDX-License-Identifier: Apache-2.0
/// Heads of different lengths: packed one after another, or any other layout with a length per head.
#pragma once

#include <cstddef>
#include <type_traits>

#include <tightkv/core/config.hpp>
#include <tightkv/core/executor.hpp>
#include <tightkv/view/layout.hpp>

namespace tightkv {

/// Packed heads, as "cu_seqlens" describes them: head h has the rows `[starts[h], starts[h + 1])` of one array.
struct ragged {
  int heads = 0;
  int const* starts = nullptr;  // heads + 1 entries
  std::ptrdiff_t token_stride = 0;

  struct locator {
    std::ptrdiff_t start;
    std::ptrdiff_t token_stride;
    TIGHTKV_HD std::byte* operator()(std::byte* base, int token) const noexcept {
      return base + (start + token) * token_stride;
    }
  };

  TIGHTKV_HD int length(int h) const noexcept { return starts[h + 1] - starts[h]; }
  TIGHTKV_HD locator head(int h) const noexcept { return {starts[h], token_stride}; }

  template <class Memory>
  void check(std::size_t alignment) const {
    detail::check_extents("ragged", heads, 0);
    detail::check_stride("ragged", "token_stride", token_stride, alignment);
    if (heads == 0) return;
    detail::expects(starts != nullptr, "ragged", "starts must not be null");
    if constexpr (std::is_same_v<Memory, host_memory>) {
      detail::expects(starts[0] >= 0, "ragged", "starts must not be negative", "starts[0]", starts[0]);
      for (int h = 0; h < heads; ++h) {
        if (starts[h + 1] < starts[h]) {
          detail::refuse("ragged", "starts must not descend",
                         {{"head", h}, {"start", starts[h]}, {"end", starts[h + 1]}});
        }
      }
    }
  }
};

static_assert(row_layout<ragged>);

/// Any layout, but head h is only `lengths[h]` tokens long: what a cache looks like after heads kept different numbers.
template <row_layout Layout>
struct with_lengths : Layout {
  int const* lengths = nullptr;

  TIGHTKV_HD int length(int h) const noexcept { return lengths[h]; }

  template <class Memory>
  void check(std::size_t alignment) const {
    Layout::template check<Memory>(alignment);
    if (this->heads == 0) return;
    detail::expects(lengths != nullptr, "with_lengths", "lengths must not be null");
    if constexpr (std::is_same_v<Memory, host_memory>) {
      for (int h = 0; h < this->heads; ++h) {
        if (lengths[h] < 0 || lengths[h] > Layout::length(h)) {
          detail::refuse("with_lengths", "a length must lie between 0 and the layout's own",
                         {{"head", h}, {"length", lengths[h]}, {"tokens", Layout::length(h)}});
        }
      }
    }
  }
};

}  // namespace tightkv
