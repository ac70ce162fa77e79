// SPDX-License-Identifier: Apache-2.0
/// A plane says where the rows of one tensor are: an engine's keys, or its values, or any per-row state, without a
/// copy.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <tightkv/core/config.hpp>
#include <tightkv/core/executor.hpp>
#include <tightkv/core/half.hpp>
#include <tightkv/view/layout.hpp>
#include <tightkv/view/ragged.hpp>
#include <tightkv/view/row.hpp>
#include <tightkv/view/strided.hpp>

namespace tightkv {

/// The rows of one head.
template <class T, class Locator, class Shape>
class head_rows {
 public:
  TIGHTKV_HD head_rows(std::byte* base, Locator locate, Shape shape, int tokens, int head_dim) noexcept
      : base_(base), locate_(locate), shape_(shape), tokens_(tokens), head_dim_(head_dim) {}

  TIGHTKV_HD int tokens() const noexcept { return tokens_; }
  TIGHTKV_HD auto operator[](int token) const noexcept {
    return shape_.template at<T>(locate_(base_, token), head_dim_);
  }
  /// Where rows lie in pages: tokens of a page, whose rows are equally far apart.
  TIGHTKV_HD int page_size() const noexcept requires requires(Locator l) { l.page_size; }
  { return locate_.page_size; }

 private:
  std::byte* base_;
  Locator locate_;
  Shape shape_;
  int tokens_;
  int head_dim_;
};

/// Rows of `head_dim` elements of type T (`float`, `half`, `bfloat16`, or `std::byte` for rows that can be moved but
/// not read), found by a layout. A `T const` plane can be scored; compacting it does not compile.
///
///     auto const keys = tightkv::plane(ptr, tightkv::strided{.heads = 8, .tokens = n, .head_stride = .., .token_stride = ..}, 128);
///     float first = static_cast<float>(keys.head(0)[17][0]);   // head 0, token 17, channel 0
///
/// `layouts.hpp` has short names for the common ones. Owns nothing, copies cheaply, and is checked once, here: null
/// data, zero head_dim, a stride that is not a multiple of the alignment, or a host page index out of range throw
/// `bad_argument`.
template <class T, row_layout Layout = strided, class Shape = contiguous, class Memory = host_memory>
requires element<std::remove_const_t<T>>
class plane {
 public:
  using value_type = std::remove_const_t<T>;
  using element_type = T;
  using memory = Memory;
  using head_type = head_rows<T, typename Layout::locator, Shape>;

  plane(T* data, Layout layout, int head_dim, Shape shape = {}, Memory = {})
      : base_(reinterpret_cast<std::byte*>(const_cast<value_type*>(data))),
        layout_(layout),
        head_dim_(head_dim),
        shape_(shape) {
    detail::expects(head_dim >= 1, "plane", "head_dim must be at least 1", "head_dim", head_dim);
    layout_.template check<Memory>(alignof(value_type));
    shape_.check(head_dim, alignof(value_type));
    if constexpr (!needs_no_base<Layout>) {
      detail::expects(!has_rows() || data != nullptr, "plane", "data must not be null");
      detail::expects(reinterpret_cast<std::uintptr_t>(data) % alignof(value_type) == 0, "plane",
                      "data must be aligned to its elements");
    }
  }

  TIGHTKV_HD int heads() const noexcept { return layout_.heads; }
  /// KV heads of one layer of one sequence; `heads()` is a multiple of it.
  TIGHTKV_HD int heads_per_layer() const noexcept { return layout_.heads; }
  TIGHTKV_HD int tokens(int head) const noexcept { return layout_.length(head); }
  TIGHTKV_HD int head_dim() const noexcept { return head_dim_; }
  TIGHTKV_HD head_type head(int h) const noexcept {
    return {base_, layout_.head(h), shape_, layout_.length(h), head_dim_};
  }

  /// The same rows, of which head h has only the first `lengths[h]`: heads that kept different numbers of tokens.
  auto with_lengths(int const* lengths) const requires(
      std::same_as<Layout, strided> || requires { Layout::block_table; } || requires { Layout::pages; }) {
    using shorter = tightkv::with_lengths<Layout>;
    return plane<T, shorter, Shape, Memory>(typed_base(), shorter{layout_, lengths}, head_dim_, shape_, Memory{});
  }

 private:
  T* typed_base() const noexcept { return static_cast<T*>(static_cast<void*>(base_)); }
  bool has_rows() const noexcept {
    if constexpr (!std::same_as<Memory, host_memory>) {
      return layout_.heads > 0;  // lengths may live on the device
    } else {
      for (int h = 0; h < layout_.heads; ++h) {
        if (layout_.length(h) > 0) return true;
      }
      return false;
    }
  }

  std::byte* base_;
  Layout layout_;
  int head_dim_;
  // Not [[no_unique_address]]: with it nvcc 13 steps through an array of planes by another size than sizeof says.
  Shape shape_;
};

/// Anything with rows per head: a `plane`, a `batch` of planes, or an engine's own type.
template <class P>
concept kv_plane = std::copyable<P> && requires(P const& p, int i) {
  typename P::value_type;
  typename P::memory;
  { p.heads() } -> std::same_as<int>;
  { p.heads_per_layer() } -> std::same_as<int>;
  { p.tokens(i) } -> std::same_as<int>;
  { p.head_dim() } -> std::same_as<int>;
  { p.head(i).tokens() } -> std::same_as<int>;
  p.head(i)[i][i];
};

/// A plane whose values can be read as numbers.
template <class P>
concept readable_plane = kv_plane<P> && numeric_element<typename P::value_type>;

/// A plane whose rows can be moved.
template <class P>
concept writable_plane = kv_plane<P> && requires(P const& p, int i) {
  p.head(i)[i][i] = p.head(i)[i][i];
};

static_assert(readable_plane<plane<float const>> && !writable_plane<plane<float const>>);
static_assert(writable_plane<plane<std::byte>> && !readable_plane<plane<std::byte>>);

/// Bytes of one row as stored.
template <kv_plane P>
std::ptrdiff_t row_bytes(P const& rows) noexcept {
  return detail::bytes_of<typename P::value_type>(rows.head_dim());
}

/// The longest head.
template <kv_plane P>
int longest(P const& rows) noexcept {
  int most = 0;
  for (int h = 0; h < rows.heads(); ++h) most = rows.tokens(h) > most ? rows.tokens(h) : most;
  return most;
}

}  // namespace tightkv
