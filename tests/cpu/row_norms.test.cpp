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

}  // namespace row_norms_test
