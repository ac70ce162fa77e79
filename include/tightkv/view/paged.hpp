// SPDX-License-Identifier: Apache-2.0
/// Rows in pages of a fixed number of tokens, found through a block table; a page of one token is a cell list.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <tightkv/core/config.hpp>
#include <tightkv/core/executor.hpp>
#include <tightkv/view/layout.hpp>

namespace tightkv {

/// Token t lies in page `block_table[t / page_size]` of a pool. Strides are bytes; `table_stride` is the number of
/// table entries from one head's table to the next, 0 where all heads share one.
template <std::integral Index>
struct basic_paged {
  int heads = 0;
  int tokens = 0;
  Index const* block_table = nullptr;
  std::ptrdiff_t table_stride = 0;
  std::int64_t pages = 0;  // in the pool
  int page_size = 1;
  std::ptrdiff_t page_stride = 0;
  std::ptrdiff_t head_stride = 0;
  std::ptrdiff_t token_stride = 0;

  struct locator {
    Index const* table;
    int page_size;
    std::ptrdiff_t page_stride;
    std::ptrdiff_t head_offset;
    std::ptrdiff_t token_stride;
    TIGHTKV_HD std::byte* operator()(std::byte* base, int token) const noexcept {
      return base + (static_cast<std::ptrdiff_t>(table[token / page_size]) * page_stride + head_offset +
                     (token % page_size) * token_stride);
    }
  };

  TIGHTKV_HD int length(int) const noexcept { return tokens; }
  TIGHTKV_HD locator head(int h) const noexcept {
    return {block_table + h * table_stride, page_size, page_stride, h * head_stride, token_stride};
  }

  template <class Memory>
  void check(std::size_t alignment) const {
    detail::check_extents("paged", heads, tokens);
    detail::expects(page_size >= 1, "paged", "page_size must be at least 1", "page_size", page_size);
    detail::check_stride("paged", "page_stride", page_stride, alignment);
    detail::check_stride("paged", "head_stride", head_stride, alignment);
    detail::check_stride("paged", "token_stride", token_stride, alignment);
    detail::expects(table_stride >= 0, "paged", "table_stride must not be negative", "table_stride", table_stride);
    if (heads == 0 || tokens == 0) return;
    detail::expects(block_table != nullptr, "paged", "block_table must not be null");
    if constexpr (std::is_same_v<Memory, host_memory>) check_table();
  }

 private:
  void check_table() const {
    int const used = (tokens - 1) / page_size + 1;
    for (int h = 0; h < (table_stride == 0 ? 1 : heads); ++h) {
      for (int i = 0; i < used; ++i) {
        auto const page = block_table[h * table_stride + i];
        if (std::cmp_less(page, 0) || std::cmp_greater_equal(page, pages)) {
          detail::refuse("paged", "a page index is out of range",
                         {{"head", h}, {"entry", i}, {"page", page}, {"pages", pages}});
        }
      }
    }
  }
};

/// Block tables of 32-bit indices, as engines have them.
using paged = basic_paged<std::int32_t>;
using paged64 = basic_paged<std::int64_t>;

static_assert(row_layout<paged>);

/// Pages given as raw addresses: token t lies in the page at `pages[t / page_size]`, `offset` bytes into it.
struct page_pointers {
  static constexpr bool has_own_addresses = true;

  int heads = 0;
  int tokens = 0;
  void* const* pages = nullptr;
  std::ptrdiff_t table_stride = 0;
  std::ptrdiff_t offset = 0;  // of this layer, or of the values, inside a page
  int page_size = 1;
  std::ptrdiff_t head_stride = 0;
  std::ptrdiff_t token_stride = 0;

  struct locator {
    void* const* table;
    int page_size;
    std::ptrdiff_t offset;
    std::ptrdiff_t token_stride;
    TIGHTKV_HD std::byte* operator()(std::byte*, int token) const noexcept {
      return static_cast<std::byte*>(table[token / page_size]) + (offset + (token % page_size) * token_stride);
    }
  };

  TIGHTKV_HD int length(int) const noexcept { return tokens; }
  TIGHTKV_HD locator head(int h) const noexcept {
    return {pages + h * table_stride, page_size, offset + h * head_stride, token_stride};
  }

  template <class Memory>
  void check(std::size_t alignment) const {
    detail::check_extents("page_pointers", heads, tokens);
    detail::expects(page_size >= 1, "page_pointers", "page_size must be at least 1", "page_size", page_size);
    detail::check_stride("page_pointers", "offset", offset, alignment);
    detail::check_stride("page_pointers", "head_stride", head_stride, alignment);
    detail::check_stride("page_pointers", "token_stride", token_stride, alignment);
    detail::expects(table_stride >= 0, "page_pointers", "table_stride must not be negative", "table_stride",
                    table_stride);
    if (heads == 0 || tokens == 0) return;
    detail::expects(pages != nullptr, "page_pointers", "the table must not be null");
    if constexpr (std::is_same_v<Memory, host_memory>) check_table(alignment);
  }

 private:
  void check_table(std::size_t alignment) const {
    int const used = (tokens - 1) / page_size + 1;
    for (int h = 0; h < (table_stride == 0 ? 1 : heads); ++h) {
      for (int i = 0; i < used; ++i) {
        void const* const page = pages[h * table_stride + i];
        if (page == nullptr) detail::refuse("page_pointers", "a page must not be null", {{"head", h}, {"entry", i}});
        if (reinterpret_cast<std::uintptr_t>(page) % alignment != 0) {
          detail::refuse("page_pointers", "a page is not aligned to its elements", {{"head", h}, {"entry", i}});
        }
      }
    }
  }
};

static_assert(row_layout<page_pointers> && needs_no_base<page_pointers>);

}  // namespace tightkv
