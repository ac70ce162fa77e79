// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mergers/sample.hpp>
#include <tightkv/mergers/lost_energy.hpp>
#include <tightkv/mergers/mean_heads.hpp>
#include <tightkv/mergers/svd_heads.hpp>

namespace {

using namespace tests;

numbers rows_of(std::vector<float> const& values, int cols) {
  numbers result(static_cast<int>(values.size()) / cols, cols);
  for (std::size_t i = 0; i < values.size(); ++i) {
    result(static_cast<int>(i) / cols, static_cast<int>(i) % cols) = values[i];
  }
  return result;
}

/// down up^T must be the identity.
void expect_identity(tightkv::head_projection const& p, double tolerance) {
  for (int a = 0; a < p.down.rows(); ++a) {
    for (int b = 0; b < p.up.rows(); ++b) {
      double sum = 0;
      for (int c = 0; c < p.rank(); ++c) sum += p.down(a, c) * p.up(b, c);
      ASSERT_NEAR(sum, a == b ? 1 : 0, tolerance);
    }
  }
}

TEST(svd_heads, of_two_equal_heads_keeps_their_common_direction) {
  // Heads of one channel, rows (1 1), (2 2), (3 3): eigenvalues 28 and 0, E = (1, 1) / sqrt 2.
  auto const group = group_of(rows_of({1, 1, 2, 2, 3, 3}, 2), 2);
  EXPECT_EQ(group.rows.products()(0, 1), 14);
  auto const p = tightkv::svd_heads{}.merge(group);
  EXPECT_EQ(p.rank(), 1);
  EXPECT_NEAR(p.down(0, 0), std::sqrt(0.5), 1e-15);
  EXPECT_NEAR(p.down(1, 0), std::sqrt(0.5), 1e-15);
  EXPECT_NEAR(p.predicted.total, 28, 1e-13);
  EXPECT_NEAR(p.predicted.lost, 0, 1e-13);
  auto const cached = product(rows_of({1, 1, 2, 2, 3, 3}, 2), p.down);
  for (int t = 0; t < 3; ++t) EXPECT_NEAR(cached(t, 0), std::sqrt(2) * (t + 1), 1e-14);
}

TEST(svd_heads, drops_what_has_least_energy) {
  // Rows (3 0), (0 1): C = diag(9, 1), E = (1, 0), of which 1 in 10 is lost.
  auto const rows = rows_of({3, 0, 0, 1}, 2);
  auto const p = tightkv::svd_heads{}.merge(group_of(rows, 2));
  EXPECT_NEAR(p.down(0, 0), 1, 1e-15);
  EXPECT_NEAR(p.down(1, 0), 0, 1e-15);
  EXPECT_NEAR(p.predicted.lost, 1, 1e-14);
  EXPECT_NEAR(p.predicted.kept(), 0.9, 1e-15);
  EXPECT_NEAR(lost(p, rows), 1, 1e-14);
}

TEST(svd_heads, loses_exactly_what_it_predicts) {
  for (int const heads : {1, 2, 3}) {
    for (int const rank : {1, 4, 7}) {
      for (auto const origin : {tightkv::origin::zero, tightkv::origin::mean}) {
        auto const rows = related_rows(200, heads * 8, 3, 0.7F);
        auto const group = group_of(rows, heads);
        auto const p = tightkv::svd_heads{.rank = rank, .origin = origin}.merge(group);
        double const measured = lost(p, rows);
        ASSERT_GT(measured, 0);
        EXPECT_NEAR(p.predicted.lost, measured, 1e-10 * measured) << heads << ' ' << rank;
        EXPECT_NEAR(row_energy(p, group).lost, measured, 1e-10 * measured);
        EXPECT_NEAR(row_energy(p, group).total, p.predicted.total, 1e-10 * p.predicted.total);
      }
    }
  }
}

TEST(svd_heads, of_one_head_at_full_rank_is_the_identity) {
  for (auto const origin : {tightkv::origin::zero, tightkv::origin::mean}) {
    auto const p = tightkv::svd_heads{.origin = origin}.merge(group_of(related_rows(100, 8, 4, 1), 1));
    expect_identity(p, 1e-14);
    for (double const x : p.offset) EXPECT_NEAR(x, 0, 1e-14);
  }
}

TEST(svd_heads, at_any_rank_has_orthonormal_columns_whose_largest_entry_is_positive) {
  auto const p = tightkv::svd_heads{.rank = 12}.merge(group_of(related_rows(100, 24, 5), 3));
  EXPECT_EQ(p.head_dim(), 8);
  for (int c = 0; c < p.rank(); ++c) {
    double largest = 0;
    for (int a = 0; a < 24; ++a) {
      EXPECT_EQ(p.down(a, c), p.up(a, c));
      if (std::abs(p.down(a, c)) > std::abs(largest)) largest = p.down(a, c);
    }
    EXPECT_GT(largest, 0);
    for (int other = 0; other <= c; ++other) {
      double dot = 0;
      for (int a = 0; a < 24; ++a) dot += p.down(a, c) * p.down(a, other);
      EXPECT_NEAR(dot, c == other ? 1 : 0, 1e-13);
    }
  }
}

TEST(svd_heads, loses_nothing_of_heads_that_share_a_latent) {
  for (int const heads : {2, 4}) {
    auto const rows = rounded(product(bell_shaped(150, 6, 6), bell_shaped(6, heads * 6, 7)));
    auto const p = tightkv::svd_heads{}.merge(group_of(rows, heads));
    EXPECT_LT(lost(p, rows), 1e-12 * p.predicted.total);  // the rows were rounded to float
  }
}

TEST(svd_heads, loses_no_more_than_svd_of_weights_or_the_mean_and_about_a_mean_no_more_than_about_zero) {
  // Values of inputs that are far from white, through random weights of 3 heads of 8 channels.
  auto const inputs = related_rows(300, 40, 8, 0.5F);
  auto const weight = bell_shaped(24, 40, 9);
  numbers rows(300, 24);
  for (int t = 0; t < 300; ++t) {
    for (int a = 0; a < 24; ++a) {
      for (int i = 0; i < 40; ++i) rows(t, a) += inputs(t, i) * weight(a, i);
    }
  }
  auto const group = group_of(rows, 3);
  double const by_rows = lost(tightkv::svd_heads{}.merge(group), rows);
  double const about_mean = lost(tightkv::svd_heads{.origin = tightkv::origin::mean}.merge(group), rows);
  double const by_weights =
      lost(tightkv::svd_heads{}.merge(tightkv::group_statistics{3, tightkv::weight_gram(weight.view())}), rows);
  double const mean = lost(tightkv::mean_heads{}.merge(group), rows);
  EXPECT_LT(by_rows, 0.9 * by_weights);
  EXPECT_LT(by_weights, mean);
  EXPECT_LT(about_mean, by_rows);
}

TEST(svd_heads, loses_the_same_when_a_head_is_rotated) {
  auto const rows = related_rows(100, 8, 10);
  auto rotated = rows;
  for (int t = 0; t < rows.rows(); ++t) {  // the second head's 4 channels, by an exact rotation of each two
    for (int c : {4, 6}) {
      rotated(t, c) = 0.6F * rows(t, c) + 0.8F * rows(t, c + 1);
      rotated(t, c + 1) = -0.8F * rows(t, c) + 0.6F * rows(t, c + 1);
    }
  }
  double const before = tightkv::svd_heads{}.merge(group_of(rows, 2)).predicted.lost;
  EXPECT_NEAR(tightkv::svd_heads{}.merge(group_of(rotated, 2)).predicted.lost, before, 1e-6 * before);
}

TEST(svd_heads, has_an_answer_for_constant_and_missing_channels_and_for_no_energy_at_all) {
  auto rows = related_rows(60, 8, 11);
  for (int t = 0; t < 60; ++t) {
    rows(t, 1) = 0;
    rows(t, 6) = 4;
  }
  for (auto const origin : {tightkv::origin::zero, tightkv::origin::mean}) {
    tightkv::svd_heads const whole{.rank = 8, .origin = origin};
    EXPECT_LT(lost(whole.merge(group_of(rows, 2)), rows), 1e-20 * 60);
    auto const nothing = tightkv::svd_heads{.origin = origin}.merge(group_of(numbers(10, 8), 2));
    EXPECT_EQ(nothing.predicted.kept(), 1);
    EXPECT_EQ(lost(nothing, numbers(10, 8)), 0);
  }
}

TEST(svd_heads, refuses_a_rank_above_the_groups_channels_and_statistics_of_nothing) {
  auto const group = group_of(related_rows(20, 8, 12), 2);
  EXPECT_EQ(tightkv::svd_heads{.rank = 8}.merge(group).rank(), 8);
  EXPECT_THROW(tightkv::svd_heads{.rank = 9}.merge(group), tightkv::bad_argument);
  EXPECT_THROW(tightkv::svd_heads{.rank = -1}.merge(group), tightkv::bad_argument);
  EXPECT_THROW(tightkv::svd_heads{}.merge(tightkv::group_statistics{2, tightkv::gram(8)}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::svd_heads{}.merge(tightkv::group_statistics{3, group.rows}), tightkv::bad_argument);
}

TEST(mean_heads, is_the_mean_of_the_heads_for_each_of_them) {
  auto const rows = rows_of({1, 2, 3, 6}, 4);  // heads (1 2) and (3 6)
  auto const p = tightkv::mean_heads{}.merge(group_of(rows, 2));
  auto const cached = product(rows, p.down);
  EXPECT_THAT(cached.row(0), ::testing::ElementsAre(2, 4));
  EXPECT_EQ(p.predicted.lost, 1 + 4 + 1 + 4);
}

TEST(mean_heads, of_one_head_is_the_identity) {
  expect_identity(tightkv::mean_heads{}.merge(group_of(numbers(1, 4), 1)), 0);
}

TEST(group_of, takes_a_groups_blocks_out_of_a_layers_sums) {
  auto const rows = related_rows(50, 12, 13);
  numbers picked(50, 8);
  for (int t = 0; t < 50; ++t) {
    for (int c = 0; c < 4; ++c) {
      picked(t, c) = rows(t, 8 + c);
      picked(t, 4 + c) = rows(t, c);
    }
  }
  auto const got = tightkv::group_of(gram_of(rows), 3, {2, 0});
  auto const want = gram_of(picked);
  EXPECT_EQ(got.heads, 2);
  for (int a = 0; a < 8; ++a)
    EXPECT_THAT(std::vector(got.rows.products().row(a), got.rows.products().row(a) + 8),
                ::testing::ElementsAreArray(want.products().row(a), 8));
  EXPECT_THROW(tightkv::group_of(gram_of(rows), 3, {3}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::group_of(gram_of(rows), 3, {}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::group_of(gram_of(rows), 5, {0}), tightkv::bad_argument);
}

}  // namespace
