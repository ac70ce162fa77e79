// SPDX-License-Identifier: Apache-2.0
/// Fast cosines to the mean direction are the plain ones, bit for bit.
#include <support/unoptimised.hpp>

#include <gtest/gtest.h>

#include <support/row_scores.hpp>
#include <tightkv/ops/mean_cosine.hpp>

namespace mean_cosine_test {

using namespace tests;

template <class T>
struct fast_mean_cosine : ::testing::Test {};
TYPED_TEST_SUITE(fast_mean_cosine, elements, element_names);

TYPED_TEST(fast_mean_cosine, are_the_plain_ones) {
  expect_row_scores_as_plain<TypeParam>(
      [](auto const& ex, auto const& keys, auto out) { tightkv::mean_cosine(ex, keys, -1.5F, out); });
}

}  // namespace mean_cosine_test
