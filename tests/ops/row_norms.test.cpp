// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <support/near.hpp>
#include <support/oracle.hpp>
#include <tightkv/ops/row_norms.hpp>

namespace row_norms_test {

using namespace tests;

template <class T>
struct row_norms : ::testing::Test {};
TYPED_TEST_SUITE(row_norms, elements, element_names);

TYPED_TEST(row_norms, are_the_euclidean_lengths_times_the_factor) {
  for (int const head_dim : head_dims) {
    auto const logical = random_rows<TypeParam>({{21, 21}, head_dim}, 3);
    cache<hnd_layout> keys(logical);
    tightkv::matrix<float> out(2, 21);
    tightkv::row_norms(tightkv::plain_cpu{}, keys.plane<TypeParam>(), 0.5F, out.view());
    for (int h = 0; h < 2; ++h) {
      expect_near(out.row(h), times(0.5, oracle::norms(oracle::head<TypeParam>(logical, h))), 1e-6);
    }
  }
}

TEST(row_norms, of_a_row_that_is_not_finite_is_nan_and_others_are_untouched) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  std::vector<float> const keys{3, 4, /**/ inf, 0, /**/ 0, 0, /**/ 0, -NAN, /**/ 5, 12};
  tightkv::matrix<float> out(1, 5);
  tightkv::row_norms(tightkv::plain_cpu{}, tightkv::hnd(keys.data(), {1, 5, 2}), 1.0F, out.view());
  expect_near(out.row(0), {5, NAN, 0, NAN, 13}, 0);
}

TEST(row_norms, of_halves_do_not_overflow_where_their_squares_would) {
  std::vector<tightkv::half> const keys(64, tightkv::half(65504.0F));
  tightkv::matrix<float> out(1, 1);
  tightkv::row_norms(tightkv::plain_cpu{}, tightkv::hnd(keys.data(), {1, 1, 64}), 1.0F, out.view());
  EXPECT_FLOAT_EQ(out(0, 0), 8 * 65504.0F);
}

TEST(row_norms, leave_the_columns_past_a_heads_end_alone) {
  std::vector<float> const keys(3 * 2, 1.0F);
  std::vector<int> const starts{0, 1, 1, 3};
  tightkv::matrix<float> out(3, 2, 7.0F);
  tightkv::row_norms(tightkv::plain_cpu{}, tightkv::packed_heads(keys.data(), starts.data(), 3, 1), 1.0F, out.view());
  expect_near(out.row(0), {1, 7}, 0);
  expect_near(out.row(1), {7, 7}, 0);
  expect_near(out.row(2), {1, 1}, 0);
}

TEST(row_norms, refuse_scores_of_another_shape) {
  std::vector<float> const keys(12);
  auto const rows = tightkv::hnd(keys.data(), {2, 3, 2});
  tightkv::matrix<float> few_rows(1, 3);
  tightkv::matrix<float> few_columns(2, 2);
  EXPECT_THROW(tightkv::row_norms(tightkv::plain_cpu{}, rows, 1.0F, few_rows.view()), tightkv::bad_argument);
  EXPECT_THROW(tightkv::row_norms(tightkv::plain_cpu{}, rows, 1.0F, few_columns.view()), tightkv::bad_argument);
  EXPECT_THROW(tightkv::row_norms(tightkv::plain_cpu{}, rows, 1.0F, {nullptr, 2, 3}), tightkv::bad_argument);
}

TEST(row_norms, of_an_empty_cache_are_nothing) {
  tightkv::matrix<float> out(2, 0);
  tightkv::row_norms(tightkv::plain_cpu{}, tightkv::hnd(static_cast<float const*>(nullptr), {2, 0, 8}), 1.0F,
                     out.view());
  EXPECT_TRUE(out.empty());
}

}  // namespace row_norms_test
