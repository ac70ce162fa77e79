// SPDX-License-Identifier: Apache-2.0
/// Fast LagKV scores are the plain ones, bit for bit.
#include <support/unoptimised.hpp>

#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/instruction_sets.hpp>
#include <support/layouts.hpp>
#include <tightkv/ops/lag_scores.hpp>

namespace lag_scores_test {

using namespace tests;

constexpr int head_count = 2;

template <class T>
struct fast_lag_scores : ::testing::Test {
  static rows random(int tokens, int head_dim, unsigned seed) {
    return random_rows<T>({std::vector<int>(head_count, tokens), head_dim}, seed);
  }
  template <class Layout = hnd_layout>
  static void expect_as_plain(rows const& k, rows const& v, int lag, float value_weight = 1.0F) {
    SCOPED_TRACE(testing::Message() << k.longest() << " x " << k.head_dim << ", lag " << lag);
    cache<Layout> keys(k);
    cache<Layout> values(v);
    std::vector<int> const first{3, 0};
    expect_scores_as_plain(head_count, k.longest(), [&](auto const& ex, auto out) {
      tightkv::lag_scores(ex, tightkv::kv_view(keys.template plane<T>(), values.template plane<T>()),
                          {{first, lag}, value_weight}, out);
    });
  }
};
TYPED_TEST_SUITE(fast_lag_scores, elements, element_names);

TYPED_TEST(fast_lag_scores, are_the_plain_ones) {
  for (int const head_dim : any_head_dims) {
    for (int const lag : {2, 7, 37}) {
      this->expect_as_plain(this->random(115, head_dim, 1), this->random(115, head_dim, 2), lag, 0.75F);
    }
  }
}

TYPED_TEST(fast_lag_scores, are_the_plain_ones_of_a_head_too_short_to_judge) {
  this->expect_as_plain(this->random(13, 64, 1), this->random(13, 64, 2), 7);
}

TYPED_TEST(fast_lag_scores, are_the_plain_ones_of_pieces_of_a_long_head) {
  this->expect_as_plain(this->random(2600, 32, 3), this->random(2600, 40, 4), 100);
}

// Two heads side by side: rows are more than 2 KiB apart, and copied as they are measured.
TYPED_TEST(fast_lag_scores, are_the_plain_ones_of_rows_far_apart) {
  constexpr int head_dim = 520;
  auto keys = this->random(115, head_dim, 12);
  keys.set(1, 50, 3, element<TypeParam>(std::numeric_limits<double>::quiet_NaN()));
  this->template expect_as_plain<nhd_layout>(keys, this->random(115, head_dim, 13), 16);
  this->template expect_as_plain<nhd_layout>(keys, this->random(115, head_dim, 13), 7);
}

// Judged together, in two pieces; the last head has no partition, another none in the second piece.
TYPED_TEST(fast_lag_scores, are_the_plain_ones_of_heads_side_by_side) {
  cache<nhd_layout> keys(random_rows<TypeParam>({std::vector<int>(4, 2600), 32}, 16));
  std::vector<int> const first{3, 0, 2200, 2590};
  expect_scores_as_plain(4, 2600, [&](auto const& ex, auto out) {
    auto const rows = keys.plane<TypeParam>();
    tightkv::lag_scores(ex, tightkv::kv_view(rows, rows), {{first, 100}, 1.0F}, out);
  });
}

TYPED_TEST(fast_lag_scores, are_the_plain_ones_without_values) {
  cache<hnd_layout> keys(this->random(90, 64, 5));
  std::vector<int> const first(head_count, 1);
  expect_scores_as_plain(head_count, 90, [&](auto const& ex, auto out) {
    tightkv::lag_scores(ex, tightkv::kv_view(keys.plane<TypeParam>()), {{first, 16}, 0.0F}, out);
  });
}

TYPED_TEST(fast_lag_scores, are_the_plain_ones_where_rows_are_not_finite) {
  for (int const head_dim : {33, 128}) {
    auto keys = this->random(100, head_dim, 6);
    auto values = this->random(100, head_dim, 7);
    keys.set(0, 20, head_dim - 1, element<TypeParam>(std::numeric_limits<double>::quiet_NaN()));
    keys.set(1, 70, 0, element<TypeParam>(-std::numeric_limits<double>::infinity()));
    values.set(1, 41, 5, element<TypeParam>(std::numeric_limits<double>::infinity()));
    this->expect_as_plain(keys, values, 16);
  }
}

TYPED_TEST(fast_lag_scores, are_the_plain_ones_where_channels_have_no_range) {
  for (int const head_dim : {33, 128}) {
    for (int const varied : {0, 1, 2, head_dim / 2}) {  // channels
      auto keys = this->random(100, head_dim, 8);
      for (int h = 0; h < head_count; ++h) {
        for (int t = 0; t < 100; ++t) {
          for (int c = varied; c < head_dim; ++c) keys.set(h, t, c, element<TypeParam>(c % 5 - 2));
        }
      }
      this->expect_as_plain(keys, this->random(100, head_dim, 9), 16);
    }
  }
}

TYPED_TEST(fast_lag_scores, are_the_plain_ones_where_rows_lie_to_one_side) {
  for (int const head_dim : {33, 128}) {
    auto keys = this->random(103, head_dim, 14);
    for (int const t : {3, 11, 12, 29, 30, 31, 60}) {
      for (int c = 0; c < head_dim; ++c) keys.set(0, t, c, element<TypeParam>(t % 2 * 60 - 30 + t * c % 5));
    }
    this->expect_as_plain(keys, this->random(103, head_dim, 15), 17);
  }
}

TYPED_TEST(fast_lag_scores, are_the_plain_ones_where_a_range_overflows) {
  auto keys = this->random(64, 64, 10);
  for (int t = 0; t < 64; ++t) {
    keys.set(0, t, 7, element<TypeParam>(t % 2 == 0 ? 3e38 : -3e38));  // not even finite as a half
    keys.set(1, t, 9, element<TypeParam>(t % 2 == 0 ? 1e-41 : 0));     // the reciprocal of the range overflows
  }
  this->expect_as_plain(keys, this->random(64, 64, 11), 16);
}

}  // namespace lag_scores_test
