// SPDX-License-Identifier: Apache-2.0
/// Fast cosines to the mean direction are the plain ones, bit for bit.
#include <support/unoptimised.hpp>

#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/instruction_sets.hpp>
#include <support/layouts.hpp>
#include <tightkv/ops/mean_cosine.hpp>

namespace {

using namespace tests;

template <class T>
struct fast_mean_cosine : ::testing::Test {
  static void expect_as_plain(rows const& r) {
    cache<hnd_layout> keys(r);
    expect_scores_as_plain(r.heads(), r.longest(),
                           [&](auto const& ex, auto out) { tightkv::mean_cosine(ex, keys.plane<T>(), -1.5F, out); });
  }
};
TYPED_TEST_SUITE(fast_mean_cosine, elements, element_names);

TYPED_TEST(fast_mean_cosine, are_the_plain_ones) {
  for (int const head_dim : any_head_dims) {
    for (int const tokens : {1, 3, 4, 21}) {
      SCOPED_TRACE(testing::Message() << tokens << " x " << head_dim);
      this->expect_as_plain(random_rows<TypeParam>({{tokens, tokens}, head_dim}, 1));
    }
  }
}

TYPED_TEST(fast_mean_cosine, are_the_plain_ones_of_pieces_of_a_long_head) {
  this->expect_as_plain(random_rows<TypeParam>({{2050}, 16}, 2));
}

TYPED_TEST(fast_mean_cosine, are_the_plain_ones_where_values_are_extreme) {
  for (int const head_dim : {20, 128}) {
    auto r = random_rows<TypeParam>({{9}, head_dim}, 3);
    r.set(0, 1, head_dim - 1, element<TypeParam>(std::numeric_limits<double>::quiet_NaN()));
    r.set(0, 2, 0, element<TypeParam>(std::numeric_limits<double>::infinity()));
    r.set(0, 4, 3, element<TypeParam>(3e38));   // the square overflows; infinite as a half
    r.set(0, 5, 3, element<TypeParam>(1e-40));  // subnormal, or zero
    r.set(0, 8, head_dim - 1, element<TypeParam>(-std::numeric_limits<double>::infinity()));
    this->expect_as_plain(r);
  }
}

TYPED_TEST(fast_mean_cosine, are_the_plain_ones_of_zeros) {
  this->expect_as_plain(rows({{5, 5}, 64}, sizeof(TypeParam)));
}

}  // namespace
