// SPDX-License-Identifier: Apache-2.0
/// Fast row norms are the plain ones, bit for bit.
#include <support/unoptimised.hpp>

#include <gtest/gtest.h>

#include <support/row_scores.hpp>
#include <tightkv/ops/row_norms.hpp>

namespace row_norms_test {

using namespace tests;

template <class T>
struct fast_row_norms : ::testing::Test {};
TYPED_TEST_SUITE(fast_row_norms, elements, element_names);

TYPED_TEST(fast_row_norms, are_the_plain_ones) {
  expect_row_scores_as_plain<TypeParam>(
      [](auto const& ex, auto const& keys, auto out) { tightkv::row_norms(ex, keys, -1.5F, out); });
}

/// Heads of different lengths where a layout allows them, and more rows than are taken at once.
TEST(fast_row_norms_in_any_layout, are_the_plain_ones) {
  for_each_layout([](auto tag) {
    using layout = typename decltype(tag)::type;
    SCOPED_TRACE(layout::name);
    int const odd = layout::varied ? 211 : 333;
    auto const r = random_rows<float>({{333, odd, 333, odd}, 20}, 4);
    cache<layout> keys(r);
    expect_scores_as_plain(r.heads(), r.longest(), [&](auto const& ex, auto out) {
      tightkv::row_norms(ex, keys.template plane<float>(), -1.0F, out);
    });
  });
}

}  // namespace row_norms_test
