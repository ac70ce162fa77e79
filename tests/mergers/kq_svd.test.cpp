// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mergers/sample.hpp>
#include <tightkv/mergers/kq_svd.hpp>
#include <tightkv/mergers/lost_energy.hpp>
#include <tightkv/mergers/svd_heads.hpp>

namespace {

using namespace tests;

/// Queries of each head, far from white.
std::vector<numbers> queries_of(int heads, int head_dim, unsigned seed) {
  std::vector<numbers> result;
  for (int i = 0; i < heads; ++i) result.push_back(related_rows(60, head_dim, seed + 10 * static_cast<unsigned>(i)));
  return result;
}

TEST(kq_svd, keeps_the_channel_that_a_query_looks_at_where_svd_keeps_the_larger_one) {
  // Keys (2 0), (0 1) of one head, the query (0 5): scores 0 and 5.
  numbers keys(2, 2);
  keys(0, 0) = 2;
  keys(1, 1) = 1;
  numbers query(1, 2);
  query(0, 1) = 5;
  auto const group = group_of(keys, {query});
  auto const p = tightkv::kq_svd{.rank = 1}.merge(group);
  EXPECT_NEAR(p.down(0, 0), 0, 1e-6);
  EXPECT_NEAR(p.down(1, 0), 1, 1e-12);
  EXPECT_NEAR(p.up(0, 0), 0, 1e-6);
  EXPECT_NEAR(p.up(1, 0), 1, 1e-12);
  EXPECT_NEAR(lost_in_use(p, keys, {query}), 0, 1e-10);
  EXPECT_NEAR(p.predicted.lost, 0, 1e-10);
  EXPECT_EQ(p.predicted.total, 25);
  auto const by_energy = tightkv::svd_heads{.rank = 1}.merge(group);
  EXPECT_NEAR(lost_in_use(by_energy, keys, {query}), 25, 1e-12);
}

TEST(kq_svd, loses_exactly_what_it_predicts) {
  for (int const heads : {1, 3}) {
    for (int const rank : {2, 6}) {
      auto const keys = related_rows(150, heads * 8, 3, 0.5F);
      auto const queries = queries_of(heads, 8, 20);
      auto const group = group_of(keys, queries);
      auto const p = tightkv::kq_svd{.rank = rank}.merge(group);
      double const measured = lost_in_use(p, keys, queries);
      EXPECT_NEAR(p.predicted.lost, measured, 1e-10 * measured) << heads << ' ' << rank;
      EXPECT_NEAR(use_energy(p, group).lost, measured, 1e-10 * measured);
      EXPECT_NEAR(use_energy(p, group).total, p.predicted.total, 1e-12 * p.predicted.total);
    }
  }
}

TEST(kq_svd, loses_no_more_of_the_scores_than_any_other_projection) {
  auto const keys = related_rows(150, 24, 4, 0.5F);
  auto const queries = queries_of(3, 8, 30);
  auto const group = group_of(keys, queries);
  auto const best = tightkv::kq_svd{}.merge(group);
  double const least = lost_in_use(best, keys, queries);

  EXPECT_LT(least, 0.9 * lost_in_use(tightkv::svd_heads{}.merge(group), keys, queries));
  // Keys and queries together, as EigenAttention has it.
  auto both = group.rows;
  for (int i = 0; i < 3; ++i) {
    numbers side_by_side(60, 24);
    for (int t = 0; t < 60; ++t) {
      for (int d = 0; d < 8; ++d) side_by_side(t, 8 * i + d) = queries[static_cast<std::size_t>(i)](t, d);
    }
    both += gram_of(side_by_side);
  }
  EXPECT_LT(least, lost_in_use(tightkv::svd_heads{}.merge(tightkv::group_statistics{3, both}), keys, queries));
  for (unsigned seed = 0; seed < 20; ++seed) {  // its neighbours
    auto near = best;
    auto const noise = bell_shaped(24, 16, seed, 1e-3F);
    for (int a = 0; a < 24; ++a) {
      for (int c = 0; c < 8; ++c) {
        near.down(a, c) += static_cast<double>(noise(a, c));
        near.up(a, c) += static_cast<double>(noise(a, 8 + c));
      }
    }
    EXPECT_LT(least, lost_in_use(near, keys, queries));
  }
}

TEST(kq_svd, of_values_by_their_output_loses_least_of_the_output) {
  // 3 KV heads of 8 channels, 2 query heads each, into 10 output features.
  auto const values = related_rows(150, 24, 5);
  auto const output = bell_shaped(10, 48, 6);
  tightkv::attention_shape const shape{.query_heads = 6, .kv_heads = 3, .key_dim = 8, .value_dim = 8};
  std::vector<numbers> uses;  // a row per output feature and query head
  for (int h = 0; h < 3; ++h) {
    numbers of_head(20, 8);
    for (int r = 0; r < 20; ++r) {
      for (int d = 0; d < 8; ++d) of_head(r, d) = output(r % 10, (2 * h + r / 10) * 8 + d);
    }
    uses.push_back(of_head);
  }
  auto const by_output = tightkv::group_of(gram_of(values), 3, {0, 1, 2}, tightkv::output_uses(output.view(), shape));
  auto const want = group_of(values, uses);
  for (int a = 0; a < 24; ++a) {
    for (int d = 0; d < 8; ++d) ASSERT_NEAR(by_output.uses(a, d), want.uses(a, d), 1e-12);
  }
  auto const p = tightkv::kq_svd{}.merge(by_output);
  double const measured = lost_in_use(p, values, uses);
  EXPECT_NEAR(p.predicted.lost, measured, 1e-10 * measured);
  EXPECT_LT(measured, lost_in_use(tightkv::svd_heads{}.merge(want), values, uses));
}

TEST(kq_svd, of_one_head_at_full_rank_is_the_identity) {
  auto const p = tightkv::kq_svd{}.merge(group_of(related_rows(100, 8, 6), queries_of(1, 8, 40)));
  for (int a = 0; a < 8; ++a) {
    for (int b = 0; b < 8; ++b) {
      double sum = 0;
      for (int c = 0; c < 8; ++c) sum += p.down(a, c) * p.up(b, c);
      EXPECT_NEAR(sum, a == b ? 1 : 0, 1e-9);
    }
  }
}

TEST(kq_svd, caches_unit_combinations_of_channels) {
  auto const p = tightkv::kq_svd{.rank = 5}.merge(group_of(related_rows(100, 16, 7), queries_of(2, 8, 50)));
  for (int c = 0; c < 5; ++c) {
    double squares = 0;
    for (int a = 0; a < 16; ++a) squares += p.down(a, c) * p.down(a, c);
    EXPECT_NEAR(squares, 1, 1e-12);
  }
}

TEST(kq_svd, has_an_answer_for_constant_and_missing_channels_and_where_nothing_is_used) {
  auto keys = related_rows(80, 16, 8);
  for (int t = 0; t < 80; ++t) {
    keys(t, 3) = 0;
    keys(t, 9) = 2;
    keys(t, 12) = keys(t, 13);
  }
  auto const queries = queries_of(2, 8, 60);
  for (int const rank : {4, 14, 16}) {
    auto const p = tightkv::kq_svd{.rank = rank}.merge(group_of(keys, queries));
    double const measured = lost_in_use(p, keys, queries);
    EXPECT_NEAR(p.predicted.lost, measured, 1e-10 * p.predicted.total);
    EXPECT_LT(measured, (rank >= 14 ? 1e-10 : 1) * p.predicted.total);
  }
  // With nothing used it is the SVD.
  auto const unused = group_of(keys, {numbers(1, 8), numbers(1, 8)});
  auto const p = tightkv::kq_svd{}.merge(unused);
  EXPECT_EQ(p.predicted.total, 0);
  double const by_energy = tightkv::svd_heads{}.merge(unused).predicted.lost;
  EXPECT_NEAR(lost(p, keys), by_energy, 1e-9 * by_energy);
  // With no rows worth a name either, the first channels.
  auto const nothing = tightkv::kq_svd{}.merge(group_of(numbers(3, 16), {numbers(1, 8), numbers(1, 8)}));
  EXPECT_EQ(nothing.rank(), 8);
}

TEST(kq_svd, about_the_mean_loses_no_more_of_the_scores) {
  auto const keys = related_rows(120, 16, 9, 1);
  auto const queries = queries_of(2, 8, 70);
  auto const group = group_of(keys, queries);
  auto const about_zero = tightkv::kq_svd{.rank = 4}.merge(group);
  auto const about_mean = tightkv::kq_svd{.rank = 4, .origin = tightkv::origin::mean}.merge(group);
  double const measured = lost_in_use(about_mean, keys, queries);
  EXPECT_LT(measured, lost_in_use(about_zero, keys, queries));
  EXPECT_NEAR(about_mean.predicted.lost, measured, 1e-9 * measured);
}

TEST(kq_svd, refuses_uses_of_another_shape_and_ranks_above_the_groups_channels) {
  auto group = group_of(related_rows(80, 16, 8), queries_of(2, 8, 60));
  EXPECT_THROW(tightkv::kq_svd{.rank = 17}.merge(group), tightkv::bad_argument);
  group.uses = table(16, 7);
  EXPECT_THROW(tightkv::kq_svd{}.merge(group), tightkv::bad_argument);
  group.uses = table(8, 8);
  EXPECT_THROW(tightkv::kq_svd{}.merge(group), tightkv::bad_argument);
  EXPECT_THROW(tightkv::query_uses({}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::group_of(group.rows, 2, {0, 1}, table(16, 4)), tightkv::bad_argument);
}

}  // namespace
