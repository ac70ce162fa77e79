// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mergers/sample.hpp>
#include <mergers/turning.hpp>
#include <tightkv/mergers/commuting_heads.hpp>
#include <tightkv/mergers/fuse_keys.hpp>
#include <tightkv/mergers/lost_energy.hpp>
#include <tightkv/mergers/mean_heads.hpp>
#include <tightkv/mergers/svd_heads.hpp>

namespace {

using namespace tests;

struct commuting_heads : ::testing::TestWithParam<tightkv::rotary> {
  static constexpr int heads = 4;
  static constexpr int head_dim = 8;
  numbers keys = related_rows(150, heads* head_dim, 3, 0.3F);
  std::vector<numbers> queries;

  commuting_heads() {
    for (unsigned i = 0; i < heads; ++i) queries.push_back(related_rows(40, head_dim, 50 + i));
  }
  tightkv::observed_group group() const { return group_of(keys, queries); }
};

INSTANTIATE_TEST_SUITE_P(layouts, commuting_heads,
                         ::testing::Values(tightkv::rotary{8, tightkv::rotary_pairs::half_split},
                                           tightkv::rotary{8, tightkv::rotary_pairs::interleaved},
                                           tightkv::rotary{4, tightkv::rotary_pairs::half_split},
                                           tightkv::rotary{6, tightkv::rotary_pairs::interleaved}, tightkv::rotary{0}),
                         [](auto const& layout) {
                           bool const split = layout.param.pairs == tightkv::rotary_pairs::half_split;
                           return std::to_string(layout.param.channels) + (split ? "_half_split" : "_interleaved");
                         });

TEST_P(commuting_heads, lose_exactly_what_they_predict) {
  auto const p = tightkv::commuting_heads{GetParam()}.merge(group());
  double const measured = lost(p, keys);
  EXPECT_NEAR(p.predicted.lost, measured, 1e-10 * measured);
  EXPECT_NEAR(row_energy(p, group()).total, p.predicted.total, 1e-12 * p.predicted.total);
}

TEST_P(commuting_heads, commute_with_the_turning_of_keys) {
  for (auto const& p : {tightkv::commuting_heads{GetParam()}.merge(group()),
                        tightkv::commuting_query_heads{GetParam()}.merge(group())}) {
    EXPECT_TRUE(tightkv::commutes_with(p, GetParam()));
    auto const turned_first = product(turned(keys, GetParam(), head_dim), p.down);
    auto const turned_last = turned(rounded(product(keys, p.down)), GetParam(), head_dim);
    for (int t = 0; t < keys.rows(); ++t) {
      for (int c = 0; c < head_dim; ++c) ASSERT_NEAR(turned_first(t, c), turned_last(t, c), 3e-5);
    }
  }
}

TEST_P(commuting_heads, see_the_same_before_and_after_rope) {
  auto const before = tightkv::commuting_heads{GetParam()}.merge(group());
  auto const after = tightkv::commuting_heads{GetParam()}.merge(group_of(turned(keys, GetParam(), head_dim), heads));
  for (int a = 0; a < heads * head_dim; ++a) {
    for (int c = 0; c < head_dim; ++c) ASSERT_NEAR(before.down(a, c), after.down(a, c), 1e-5);
  }
}

TEST_P(commuting_heads, lose_more_than_a_projection_per_group_and_that_more_than_one_for_the_layer) {
  auto const after = turned(keys, GetParam(), head_dim);
  auto const sums = gram_of(after);
  double layer_wide =
      tightkv::svd_heads{.rank = 2 * head_dim}.merge(tightkv::group_statistics{heads, sums}).predicted.lost;
  double per_group = 0;
  double commuting = 0;
  double mean = 0;
  for (auto const& pair : {std::vector{0, 1}, std::vector{2, 3}}) {
    auto const of_pair = tightkv::group_of(sums, heads, pair);
    per_group += tightkv::svd_heads{}.merge(of_pair).predicted.lost;
    commuting += tightkv::commuting_heads{GetParam()}.merge(of_pair).predicted.lost;
    mean += tightkv::mean_heads{}.merge(of_pair).predicted.lost;
  }
  EXPECT_LT(layer_wide, per_group);
  EXPECT_LE(per_group, commuting * (1 + 1e-12));
  EXPECT_LT(commuting, mean);
}

TEST_P(commuting_heads, by_their_queries_lose_fewer_of_the_scores) {
  // Queries of one head are much longer than those of the others.
  for (int q = 0; q < 40; ++q) {
    for (int d = 0; d < head_dim; ++d) queries[2](q, d) *= 20;
  }
  // Keys and queries at positions that have nothing to do with each other.
  auto const turned_keys = turned(keys, GetParam(), head_dim);
  std::vector<numbers> turned_queries;
  for (auto const& q : queries) turned_queries.push_back(turned(q, GetParam(), head_dim, 977));
  auto const plain = tightkv::commuting_heads{GetParam()}.merge(group());
  auto const by_query = tightkv::commuting_query_heads{GetParam()}.merge(group());
  double const measured = lost_in_use(by_query, turned_keys, turned_queries);
  EXPECT_LT(measured, 0.8 * lost_in_use(plain, turned_keys, turned_queries));
}

TEST_P(commuting_heads, of_one_head_are_the_identity) {
  auto const one = group_of(columns_of(keys, 0, head_dim), {queries[0]});
  for (auto const& p :
       {tightkv::commuting_heads{GetParam()}.merge(one), tightkv::commuting_query_heads{GetParam()}.merge(one)}) {
    EXPECT_LT(lost(p, columns_of(keys, 0, head_dim)), 1e-20 * 1e4);
  }
}

TEST(commuting_query_heads, predict_the_expected_error_of_scores) {
  constexpr int head_dim = 8;
  tightkv::rotary const all{head_dim};
  auto const keys = related_rows(100, 3 * head_dim, 4);
  std::vector<numbers> queries;
  for (unsigned i = 0; i < 3; ++i) queries.push_back(related_rows(20, head_dim, 60 + i));
  auto const p = tightkv::commuting_query_heads{all}.merge(group_of(keys, queries));
  // The mean over relative positions: each pair of channels in 16 phases that are independent of each other, which is
  // what makes products of different frequencies vanish.
  double expected = 0;
  for (int f = 0; f < head_dim / 2; ++f) {
    auto const after = restored(p, keys);
    for (int i = 0; i < 3; ++i) {
      for (int t = 0; t < keys.rows(); ++t) {
        double const re = static_cast<double>(keys(t, i * head_dim + f)) - after(t, i * head_dim + f);
        double const im = static_cast<double>(keys(t, i * head_dim + f + 4)) - after(t, i * head_dim + f + 4);
        for (int q = 0; q < 20; ++q) {
          auto const& of_head = queries[static_cast<std::size_t>(i)];
          for (int phase = 0; phase < 16; ++phase) {
            double const angle = phase * std::acos(-1) / 8;
            double const score = static_cast<double>(of_head(q, f)) * (re * std::cos(angle) - im * std::sin(angle)) +
                                 static_cast<double>(of_head(q, f + 4)) * (re * std::sin(angle) + im * std::cos(angle));
            expected += score * score / 16;
          }
        }
      }
    }
  }
  EXPECT_NEAR(p.predicted.lost, expected, 1e-10 * expected);
}

TEST(commuting_query_heads, survive_heads_that_no_query_meets) {
  constexpr int head_dim = 8;
  auto const keys = related_rows(100, 2 * head_dim, 5);
  auto const group = group_of(keys, {related_rows(20, head_dim, 6), numbers(20, head_dim)});
  auto const p = tightkv::commuting_query_heads{{head_dim}}.merge(group);
  EXPECT_LT(p.predicted.lost, 1e-10 * p.predicted.total);  // only the first head counts
  auto const unused = group_of(keys, {numbers(1, head_dim), numbers(1, head_dim)});
  auto const plain = tightkv::commuting_heads{{head_dim}}.merge(unused);
  EXPECT_NEAR(lost(tightkv::commuting_query_heads{{head_dim}}.merge(unused), keys), plain.predicted.lost,
              1e-10 * plain.predicted.lost);
}

TEST(commuting_heads_of_copies, lose_nothing) {
  constexpr int head_dim = 8;
  // Each head is the first, every pair of channels turned by an angle of its own: as complex numbers, times a phase.
  auto const original = related_rows(80, head_dim, 7);
  numbers keys(80, 3 * head_dim);
  for (int i = 0; i < 3; ++i) {
    for (int f = 0; f < head_dim / 2; ++f) {
      double const angle = 1.3 * i + 0.7 * f * i;
      for (int t = 0; t < 80; ++t) {
        double const re = static_cast<double>(original(t, 2 * f));
        double const im = static_cast<double>(original(t, 2 * f + 1));
        keys(t, i * head_dim + 2 * f) = static_cast<float>(re * std::cos(angle) - im * std::sin(angle));
        keys(t, i * head_dim + 2 * f + 1) = static_cast<float>(re * std::sin(angle) + im * std::cos(angle));
      }
    }
  }
  auto const p = tightkv::commuting_heads{{head_dim, tightkv::rotary_pairs::interleaved}}.merge(group_of(keys, 3));
  EXPECT_LT(lost(p, keys), 1e-12 * p.predicted.total);
  // Read as the other layout, the same numbers are no copies.
  auto const misread = tightkv::commuting_heads{{head_dim, tightkv::rotary_pairs::half_split}}.merge(group_of(keys, 3));
  EXPECT_GT(misread.predicted.lost, 1e-3 * misread.predicted.total);
}

TEST(commuting_heads_refuse, rotary_channels_that_are_odd_or_more_than_the_head_has) {
  auto const group = group_of(related_rows(20, 16, 8), 2);
  EXPECT_THROW(tightkv::commuting_heads{{10}}.merge(group), tightkv::bad_argument);
  EXPECT_THROW(tightkv::commuting_heads{{3}}.merge(group), tightkv::bad_argument);
  EXPECT_THROW(tightkv::commuting_heads{{-2}}.merge(group), tightkv::bad_argument);
  EXPECT_THROW(tightkv::commuting_heads{{8}}.merge(tightkv::group_statistics{2, tightkv::gram(16)}),
               tightkv::bad_argument);
}

}  // namespace
