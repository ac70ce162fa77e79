// SPDX-License-Identifier: Apache-2.0
/// A row is one token of one KV head: `head_dim` values. Usually they are contiguous; in a few caches they come in
/// groups.
#pragma once

#include <cstddef>
#include <type_traits>

#include <tightkv/core/config.hpp>
#include <tightkv/core/error.hpp>

namespace tightkv {

/// Contiguous values: `row[d]`.
template <class T>
struct row {
  T* data;
  int size;

  TIGHTKV_HD T& operator[](int d) const noexcept { return data[d]; }
};

/// Groups of contiguous values, the groups `stride` bytes apart.
template <class T>
struct grouped_row {
  T* first;
  int size;
  int group;
  std::ptrdiff_t stride;

  TIGHTKV_HD T& operator[](int d) const noexcept {
    // Through void: alignment was checked when the plane was made.
    auto* const start = reinterpret_cast<char*>(const_cast<std::remove_const_t<T>*>(first)) + (d / group) * stride;
    return static_cast<T*>(static_cast<void*>(start))[d % group];
  }
};

/// The usual shape of a row: all values side by side.
struct contiguous {
  template <class T>
  TIGHTKV_HD row<T> at(std::byte* start, int head_dim) const noexcept {
    return {static_cast<T*>(static_cast<void*>(start)), head_dim};
  }
  void check(int, std::size_t) const noexcept {}
};

/// Rows cut into groups of `size` contiguous values, `stride` bytes from one group to the next: values transposed to
/// `[head][head_dim][token]` have groups of one; vLLM's first key layout has groups of 16 bytes.
struct grouped {
  int size = 1;
  std::ptrdiff_t stride = 0;

  template <class T>
  TIGHTKV_HD grouped_row<T> at(std::byte* start, int head_dim) const noexcept {
    return {static_cast<T*>(static_cast<void*>(start)), head_dim, size, stride};
  }
  void check(int head_dim, std::size_t alignment) const {
    detail::expects(size >= 1 && head_dim % size == 0, "grouped", "head_dim must be a multiple of the group size",
                    "size", size, "head_dim", head_dim);
    detail::expects(stride % static_cast<std::ptrdiff_t>(alignment) == 0, "grouped",
                    "stride (bytes) must be a multiple of the element's alignment", "stride", stride);
  }
};

}  // namespace tightkv
