// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <support/near.hpp>
#include <support/oracle.hpp>
#include <tightkv/ops/mean_cosine.hpp>

namespace mean_cosine_test {

using namespace tests;

template <class T>
struct mean_cosine : ::testing::Test {};
TYPED_TEST_SUITE(mean_cosine, elements, element_names);

TYPED_TEST(mean_cosine, is_the_cosine_with_the_mean_of_the_unit_rows) {
  for (int const head_dim : head_dims) {
    auto const logical = random_rows<TypeParam>({{301, 301}, head_dim}, 3);  // more than two blocks of 128
    cache<hnd_layout> keys(logical);
    tightkv::matrix<float> out(2, 301);
    tightkv::mean_cosine(tightkv::plain_cpu{}, keys.plane<TypeParam>(), -2.0F, out.view());
    for (int h = 0; h < 2; ++h) {
      expect_near(out.row(h), times(-2, oracle::mean_cosine(oracle::head<TypeParam>(logical, h))), 3e-6, 1.0);
    }
  }
}

std::vector<float> cosines(std::vector<float> const& rows, int head_dim) {
  int const tokens = static_cast<int>(rows.size()) / head_dim;
  std::vector<float> out(static_cast<std::size_t>(tokens), 7.0F);
  tightkv::mean_cosine(tightkv::plain_cpu{}, tightkv::hnd(rows.data(), {1, tokens, head_dim}), 1.0F,
                       {out.data(), 1, tokens});
  return out;
}

TEST(mean_cosine, of_a_worked_example) {
  // Unit rows (1, 0), (0, 1), (1, 0): their mean points along (2, 1).
  expect_near(cosines({3, 0, /**/ 0, 0.5F, /**/ 10, 0}, 2),
              {2 / std::sqrt(5.0), 1 / std::sqrt(5.0), 2 / std::sqrt(5.0)}, 1e-6);
}

TEST(mean_cosine, of_a_zero_row_is_zero_and_adds_nothing_to_the_mean) {
  expect_near(cosines({3, 4, /**/ 0, 0}, 2), {1, 0}, 1e-6);
}

TEST(mean_cosine, is_zero_everywhere_where_the_mean_is_zero) { expect_near(cosines({4, 0, /**/ -2, 0}, 2), {0, 0}, 0); }

TEST(mean_cosine, of_a_row_that_is_not_finite_or_too_long_is_nan_and_the_others_do_not_notice) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  expect_near(cosines({3, 4, /**/ NAN, 0, /**/ 6, 8, /**/ -inf, 1, /**/ 2e19F, 2e19F}, 2), {1, NAN, 1, NAN, NAN}, 1e-6);
}

TEST(mean_cosine, does_not_change_when_a_row_is_scaled) {
  EXPECT_EQ(cosines({1, 2, /**/ -3, 5, /**/ 2, -1}, 2), cosines({4, 8, /**/ -1.5F, 2.5F, /**/ 1024, -512}, 2));
}

TEST(mean_cosine, of_an_empty_cache_is_nothing) { EXPECT_TRUE(cosines({}, 2).empty()); }

TEST(mean_cosine, refuses_scores_of_another_shape) {
  std::vector<float> const keys(12);
  tightkv::matrix<float> few_columns(2, 2);
  EXPECT_THROW(
      tightkv::mean_cosine(tightkv::plain_cpu{}, tightkv::hnd(keys.data(), {2, 3, 2}), 1.0F, few_columns.view()),
      tightkv::bad_argument);
}

}  // namespace mean_cosine_test
