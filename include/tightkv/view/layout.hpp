// SPDX-License-Identifier: Apache-2.0
/// A layout maps (head, token) to where a row starts. `README.md` beside this file shows the layouts in pictures.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include <tightkv/core/error.hpp>

namespace tightkv {

/// `layout.head(h)` is a small function from a base address and a token to the address of that token's row, so that
/// whatever depends on the head alone is worked out once. Strides are bytes. `check<Memory>(alignment)` throws
/// `bad_argument`; it looks into tables only when they are on the host.
template <class L>
concept row_layout = std::copyable<L> && requires(L const& layout, int head, std::byte* base, int token) {
  { layout.heads } -> std::convertible_to<int>;
  { layout.length(head) } -> std::same_as<int>;
  { layout.head(head)(base, token) } -> std::same_as<std::byte*>;
};

/// Layouts whose rows are found from a table of pointers need no base address.
template <class L>
concept needs_no_base = L::has_own_addresses;

/// The extents of a cache of equally long heads. `capacity` is how many tokens there is room for per head.
struct kv_shape {
  int heads = 0;
  int tokens = 0;
  int head_dim = 0;
  int capacity = tokens;
};

namespace detail {

inline void check_extents(char const* who, int heads, int tokens) {
  expects(heads >= 0, who, "heads must not be negative", "heads", heads);
  expects(tokens >= 0, who, "tokens must not be negative", "tokens", tokens);
}

inline void check_stride(char const* who, char const* name, std::ptrdiff_t stride, std::size_t alignment) {
  expects(stride % static_cast<std::ptrdiff_t>(alignment) == 0, who,
          "strides (bytes) must be multiples of the element's alignment", name, stride, "alignment", alignment);
}

inline void check_shape(char const* who, kv_shape const& s) {
  check_extents(who, s.heads, s.tokens);
  expects(s.head_dim >= 1, who, "head_dim must be at least 1", "head_dim", s.head_dim);
  expects(s.capacity >= s.tokens, who, "capacity must be at least tokens", "capacity", s.capacity, "tokens", s.tokens);
  // 8 bytes are more than any element has; the largest stride must be a ptrdiff_t.
  auto const token_bytes = std::ptrdiff_t{8} * s.head_dim;
  expects(s.heads == 0 || std::max(1, s.capacity) <= PTRDIFF_MAX / token_bytes / s.heads, who,
          "the tensor is larger than memory can be", "heads", s.heads, "capacity", s.capacity);
}

/// Bytes of `count` elements of T.
template <class T>
constexpr std::ptrdiff_t bytes_of(std::ptrdiff_t count) noexcept {
  return count * static_cast<std::ptrdiff_t>(sizeof(T));
}

}  // namespace detail
}  // namespace tightkv
