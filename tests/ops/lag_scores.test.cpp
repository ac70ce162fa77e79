// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include <support/lag.hpp>
#include <support/layouts.hpp>
#include <support/near.hpp>
#include <support/oracle.hpp>
#include <tightkv/ops/lag_scores.hpp>

namespace lag_scores_test {

using namespace tests;
using numbers = std::vector<float>;

constexpr float inf = std::numeric_limits<float>::infinity();

template <class T>
struct lag_scores : ::testing::Test {};
TYPED_TEST_SUITE(lag_scores, elements, element_names);

TYPED_TEST(lag_scores, are_what_the_formula_says) {
  for (int const head_dim : head_dims) {
    for (float const weight : {0.0F, 1.0F, 0.25F}) {
      auto const keys = random_rows<TypeParam>({{29, 29}, head_dim}, 4);
      auto const values = random_rows<TypeParam>({{29, 29}, 48}, 5);
      cache<hnd_layout> k(keys);
      cache<hnd_layout> v(values);
      tightkv::matrix<float> out(2, 29, 7.0F);
      std::vector<int> const first{0, 5};
      tightkv::lag_scores(tightkv::plain_cpu{}, tightkv::kv_view(k.plane<TypeParam>(), v.plane<TypeParam>()),
                          {.partitions = {first, 6}, .value_weight = weight}, out.view());
      for (int h = 0; h < 2; ++h) {
        auto const want = oracle::lag_scores(oracle::head<TypeParam>(keys, h), oracle::head<TypeParam>(values, h),
                                             h == 0 ? 0 : 5, 6, static_cast<double>(weight));
        expect_near(out.row(h), want, 2e-6);
      }
    }
  }
}

// The middle of the ranges is no good place then to measure deviations from.
TYPED_TEST(lag_scores, are_what_the_formula_says_where_rows_lie_to_one_side) {
  auto keys = random_rows<TypeParam>({{48}, 96}, 6);
  for (int t = 0; t < 8; ++t) {
    for (int c = 0; c < 96; ++c) keys.set(0, t, c, element<TypeParam>(t * 16 - 48 + (t + 1) * c % 5 * 0.5));
  }
  cache<hnd_layout> k(keys);
  tightkv::matrix<float> out(1, 48, 7.0F);
  std::vector<int> const first{0};
  tightkv::lag_scores(tightkv::plain_cpu{}, tightkv::kv_view(k.plane<TypeParam>()), {{first, 16}, 0.0F}, out.view());
  auto const head = oracle::head<TypeParam>(keys, 0);
  expect_near(out.row(0), oracle::lag_scores(head, head, 0, 16, 0.0), 2e-6);
}

TEST(lag_scores, of_the_worked_example) {
  numbers const keys{9, 9, /**/ 1, 3, /**/ 2, 2, /**/ 0, 0, /**/ 4, 4, /**/ 9, 9};
  numbers const values{9, 9, /**/ 0, 0, /**/ 2, 0, /**/ 0, 0, /**/ 1, 2, /**/ 9, 9};
  lag_case const c{.lag = 2, .first = 1, .key_dim = 2, .keys = keys, .value_dim = 2, .values = values};
  expect_near(c.scores(), {NAN, 0.783049, 1.216951, NAN, NAN, NAN}, 1e-6);
  auto keys_only = c;
  keys_only.value_weight = 0;
  expect_near(keys_only.scores(), {NAN, 0.587479, 0.412521, NAN, NAN, NAN}, 1e-6);
}

TEST(lag_scores, of_three_channels) {
  numbers const keys{1, 2, 3, /**/ 4, 0, 2, /**/ 2, 2, 2, /**/ 0, 0, 0, /**/ 4, 4, 4, /**/ 1, 1, 1};
  lag_case const c{.lag = 3, .key_dim = 3, .keys = keys};
  expect_near(c.scores(), {0.326496, 0.419229, 0.254275, NAN, NAN, NAN}, 2e-6);
}

TEST(lag_scores, are_all_nan_where_there_are_fewer_than_two_partitions) {
  for (int const tokens : {0, 1, 3, 4, 7}) {
    lag_case const c{.lag = 4, .key_dim = 2, .keys = numbers(static_cast<std::size_t>(2 * tokens), 1.0F)};
    expect_near(c.scores(), std::vector<double>(static_cast<std::size_t>(tokens), NAN), 0);
  }
  lag_case const first_past_the_end{.lag = 2, .first = 100, .key_dim = 1, .keys = numbers(8, 1.0F)};
  expect_near(first_past_the_end.scores(), std::vector<double>(8, NAN), 0);
}

TEST(lag_scores, leave_channels_without_a_range_out) {
  // Channel 1 is constant in the reference, although not in the partition.
  lag_case const with{.lag = 2, .key_dim = 3, .keys = {1, 8, 3, /**/ 4, 9, 0, /**/ 0, 5, 0, /**/ 4, 5, 4}};
  lag_case const without{.lag = 2, .key_dim = 2, .keys = {1, 3, /**/ 4, 0, /**/ 0, 0, /**/ 4, 4}};
  expect_near(with.scores(), without.scores_in_double(), 1e-6);
  // A range that is infinite as a float counts no more than none.
  lag_case const too_wide{.lag = 2, .key_dim = 3, .keys = {1, 8, 3, /**/ 4, 9, 0, /**/ 0, -3e38F, 0, /**/ 4, 3e38F, 4}};
  expect_near(too_wide.scores(), without.scores_in_double(), 1e-6);
}

TEST(lag_scores, are_uniform_where_fewer_than_two_channels_are_left) {
  lag_case const one{.lag = 2, .key_dim = 2, .keys = {1, 8, /**/ 7, 9, /**/ 0, 5, /**/ 4, 5}};
  expect_near(one.scores(), {0.5, 0.5, NAN, NAN}, 0);
  lag_case const none{.lag = 4, .key_dim = 2, .keys = numbers(16, 3.0F)};
  expect_near(none.scores(), {0.25, 0.25, 0.25, 0.25, NAN, NAN, NAN, NAN}, 0);
}

TEST(lag_scores, of_a_row_that_is_not_finite_are_nan_and_the_others_do_not_notice) {
  // In the partition: the softmax runs over the other rows.
  lag_case const judged{.lag = 3,
                        .key_dim = 3,
                        .keys = {1, 2, 3, /**/ 4, inf, 2, /**/ 2, 2, 2, /**/ 0, 0, 0, /**/ 4, 4, 4, /**/ 1, 1, 1}};
  double const a = std::exp(0.25);
  expect_near(judged.scores(), {a / (a + 1), NAN, 1 / (a + 1), NAN, NAN, NAN}, 1e-6);
  // In the reference: its other values do not widen the ranges either.
  lag_case c{.lag = 3,
             .key_dim = 3,
             .keys = {1, 2, 3, /**/ 4, 0, 2, /**/ 2, 2, 2, /**/ 0, 0, 0, /**/ 4, 4, 4, /**/ 99, NAN, -99}};
  expect_near(c.scores(), {0.326496, 0.419229, 0.254275, NAN, NAN, NAN}, 2e-6);
  // All of them.
  lag_case const nothing{.lag = 2, .key_dim = 2, .keys = {NAN, 1, /**/ 1, NAN, /**/ 1, 2, /**/ 3, 4}};
  expect_near(nothing.scores(), {NAN, NAN, NAN, NAN}, 0);
}

TEST(lag_scores, do_not_read_values_of_no_weight) {
  numbers const keys{1, 2, 3, /**/ 4, 0, 2, /**/ 2, 2, 2, /**/ 0, 0, 0, /**/ 4, 4, 4, /**/ 1, 1, 1};
  lag_case const c{.lag = 3, .value_weight = 0, .key_dim = 3, .keys = keys, .value_dim = 2, .values = numbers(12, NAN)};
  expect_near(c.scores(), {0.326496, 0.419229, 0.254275, NAN, NAN, NAN}, 2e-6);
  auto weighed = c;
  weighed.value_weight = 1;
  expect_near(weighed.scores(), std::vector<double>(6, NAN), 0);
}

TEST(lag_scores, refuse_what_makes_no_sense) {
  lag_case const good{.lag = 2, .key_dim = 2, .keys = numbers(8)};
  auto const refused = [&](auto&& change) {
    auto bad = good;
    change(bad);
    EXPECT_THROW(bad.scores(), tightkv::bad_argument);
  };
  refused([](auto& c) { c.lag = 1; });
  refused([](auto& c) { c.first = -1; });
  refused([](auto& c) { c.value_weight = 1; });  // there are no values
  refused([](auto& c) { c.value_weight = inf; });
  refused([](auto& c) { c.room = 3; });
  refused([](auto& c) { c.heads_given = 2; });
}

}  // namespace lag_scores_test
