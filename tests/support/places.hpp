// SPDX-License-Identifier: Apache-2.0
/// Checking that a plane finds every element where an engine's formula says it is.
#pragma once

#include <cstddef>
#include <functional>

#include <gtest/gtest.h>

namespace tests {

/// (head, token, channel) -> elements past `base`.
using formula = std::function<std::ptrdiff_t(int, int, int)>;

[[gnu::noinline]] inline void expect_place(void const* got, void const* base, std::ptrdiff_t bytes, int h, int t,
                                           int d) {
  ASSERT_EQ(static_cast<std::byte const*>(got) - static_cast<std::byte const*>(base), bytes)
      << "head " << h << ", token " << t << ", channel " << d;
}

template <class P, class T>
void expect_places(P const& plane, T const* base, formula const& where) {
  ASSERT_GT(plane.heads(), 0);
  for (int h = 0; h < plane.heads(); ++h) {
    auto const head = plane.head(h);
    ASSERT_EQ(head.tokens(), plane.tokens(h));
    ASSERT_GT(head.tokens(), 0);
    for (int t = 0; t < head.tokens(); ++t) {
      auto const row = head[t];
      ASSERT_EQ(row.size, plane.head_dim());
      for (int d = 0; d < plane.head_dim(); ++d) {
        auto const bytes = where(h, t, d) * static_cast<std::ptrdiff_t>(sizeof(T));
        expect_place(&row[d], base, bytes, h, t, d);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace tests
