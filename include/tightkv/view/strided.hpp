// SPDX-License-Identifier: Apache-2.0
/// Rows at a fixed distance from one another: any order of heads and tokens, contiguous or not.
#pragma once

#include <cstddef>

#include <tightkv/core/config.hpp>
#include <tightkv/view/layout.hpp>

namespace tightkv {

/// A dense cache: row (head, token) starts `head * head_stride + token * token_stride` bytes after the base.
struct strided {
  int heads = 0;
  int tokens = 0;
  std::ptrdiff_t head_stride = 0;
  std::ptrdiff_t token_stride = 0;

  struct locator {
    std::ptrdiff_t offset;
    std::ptrdiff_t token_stride;
    TIGHTKV_HD std::byte* operator()(std::byte* base, int token) const noexcept {
      return base + (offset + token * token_stride);
    }
  };

  TIGHTKV_HD int length(int) const noexcept { return tokens; }
  TIGHTKV_HD locator head(int h) const noexcept { return {h * head_stride, token_stride}; }

  template <class Memory>
  void check(std::size_t alignment) const {
    detail::check_extents("strided", heads, tokens);
    detail::check_stride("strided", "head_stride", head_stride, alignment);
    detail::check_stride("strided", "token_stride", token_stride, alignment);
  }
};

static_assert(row_layout<strided>);

}  // namespace tightkv
