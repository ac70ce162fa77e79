// SPDX-License-Identifier: Apache-2.0
/// Every element of every layout lies where its formula says, for every element type.
#include <support/unoptimised.hpp>

#include <cstddef>

#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <support/places.hpp>

namespace layouts_test {

using namespace tests;

template <class T>
struct layouts : ::testing::Test {};
using sizes = ::testing::Types<std::byte, tightkv::half, float>;  // of one, two and four bytes
TYPED_TEST_SUITE(layouts, sizes, element_names);

TYPED_TEST(layouts, put_each_element_where_their_formula_says) {
  using T = TypeParam;
  for (int const head_dim : {80, 96}) {
    for_each_layout([&](auto tag) {
      using layout = typename decltype(tag)::type;
      SCOPED_TRACE(layout::name);
      auto const e = usual_extents(layout::varied, head_dim);
      cache<layout> c(rows(e, sizeof(T)));
      auto const plane = c.template plane<T>();
      ASSERT_EQ(plane.heads(), e.heads());
      ASSERT_EQ(plane.head_dim(), head_dim);
      ASSERT_EQ(tightkv::row_bytes(plane), head_dim * static_cast<int>(sizeof(T)));
      ASSERT_EQ(tightkv::longest(plane), e.longest());
      for (int h = 0; h < e.heads(); ++h) ASSERT_EQ(plane.tokens(h), e.length(h));
      expect_places(plane, reinterpret_cast<T const*>(c.data()),
                    [&](int h, int t, int d) { return c.where().index(h, t, d); });
    });
  }
}

}  // namespace layouts_test
