// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mergers/sample.hpp>
#include <mergers/turning.hpp>
#include <tightkv/mergers/alternating_heads.hpp>
#include <tightkv/mergers/fuse_keys.hpp>
#include <tightkv/mergers/run_time_keys.hpp>

namespace {

using namespace tests;

struct alternating_heads : ::testing::TestWithParam<tightkv::rotary> {
  static constexpr int heads = 3;
  static constexpr int head_dim = 8;
  static constexpr tightkv::rope_distances over{.reach = 9};
  numbers keys = related_rows(60, heads* head_dim, 3, 0.3F);
  std::vector<numbers> queries;

  alternating_heads() {
    for (unsigned i = 0; i < heads; ++i) queries.push_back(related_rows(20, head_dim, 50 + i));
  }
  tightkv::observed_group group() const { return group_of(keys, queries); }
  tightkv::head_projection merged(int steps) const {
    return tightkv::alternating_heads{GetParam(), over, steps}.merge(group());
  }

  /// A head's row at a position.
  static std::vector<double> turned_row(std::vector<double> row, int position) {
    turn([&](int c) -> double& { return row[static_cast<std::size_t>(c)]; }, 0, position, GetParam());
    return row;
  }
  static double dot(std::vector<double> const& a, std::vector<double> const& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  }

  /// Each head's scores of every query with every key at every distance, before and after: by the book.
  tightkv::energy measured(tightkv::head_projection const& p) const {
    tightkv::energy result;
    double total = 0;
    for (int d = 0; d < over.reach; ++d) total += 1.0 / (1 + d);
    auto const cached = product(keys, p.down);
    for (int i = 0; i < heads; ++i) {
      auto const& u = queries[static_cast<std::size_t>(i)];
      for (int q = 0; q < u.rows(); ++q) {
        std::vector<double> old(head_dim);
        std::vector<double> merged(head_dim);
        for (int a = 0; a < head_dim; ++a) {
          old[static_cast<std::size_t>(a)] = static_cast<double>(u(q, a));
          for (int c = 0; c < head_dim; ++c)
            merged[static_cast<std::size_t>(c)] += static_cast<double>(u(q, a)) * p.up(i * head_dim + a, c);
        }
        for (int d = 0; d < over.reach; ++d) {
          auto const old_query = turned_row(old, d);
          auto const merged_query = turned_row(merged, d);
          for (int t = 0; t < keys.rows(); ++t) {
            double score = 0;
            double change = 0;
            for (int c = 0; c < head_dim; ++c) {
              auto const at = static_cast<std::size_t>(c);
              double const before = old_query[at] * static_cast<double>(keys(t, i * head_dim + c));
              score += before;
              change += merged_query[at] * cached(t, c) - before;
            }
            result.total += score * score / (1 + d) / total;
            result.lost += change * change / (1 + d) / total;
          }
        }
      }
    }
    return result;
  }
};

INSTANTIATE_TEST_SUITE_P(layouts, alternating_heads,
                         ::testing::Values(tightkv::rotary{8, tightkv::rotary_pairs::half_split},
                                           tightkv::rotary{8, tightkv::rotary_pairs::interleaved},
                                           tightkv::rotary{4, tightkv::rotary_pairs::half_split}, tightkv::rotary{0}),
                         [](auto const& layout) {
                           bool const split = layout.param.pairs == tightkv::rotary_pairs::half_split;
                           return std::to_string(layout.param.channels) + (split ? "_half_split" : "_interleaved");
                         });

TEST_P(alternating_heads, lose_exactly_what_they_predict) {
  for (int const steps : {0, 1, 12}) {
    auto const p = merged(steps);
    auto const counted = measured(p);
    EXPECT_NEAR(p.predicted.total, counted.total, 1e-10 * counted.total);
    EXPECT_NEAR(p.predicted.lost, counted.lost, 1e-10 * counted.total);
  }
}

TEST_P(alternating_heads, lose_less_with_every_step_and_less_than_what_commutes) {
  double before = measured(tightkv::commuting_query_heads{GetParam()}.merge(group())).lost;
  for (int const steps : {0, 1, 2, 4, 12}) {
    double const now = merged(steps).predicted.lost;
    EXPECT_LE(now, before * (1 + 1e-9)) << steps;
    before = now;
  }
}

TEST_P(alternating_heads, of_one_head_lose_nothing) {
  auto const alone = group_of(columns_of(keys, 0, head_dim), {queries[0]});
  auto const p = tightkv::alternating_heads{GetParam(), over}.merge(alone);
  EXPECT_LT(p.predicted.lost, 1e-12 * p.predicted.total);
}

// Nothing turns at distance 0: then the best is what KQ-SVD finds in one go.
TEST_P(alternating_heads, at_no_distance_come_to_kq_svd) {
  auto const p = tightkv::alternating_heads{GetParam(), {.reach = 1}, 300}.merge(group());
  auto const best = tightkv::kq_svd{}.merge(group()).predicted;
  EXPECT_NEAR(p.predicted.total, best.total, 1e-10 * best.total);
  EXPECT_GE(p.predicted.lost, best.lost * (1 - 1e-6));
  EXPECT_LT(p.predicted.lost, best.lost * 1.02);
}

TEST_P(alternating_heads, see_nothing_of_channels_that_are_missing) {
  for (int t = 0; t < keys.rows(); ++t) {
    for (int a = head_dim; a < 2 * head_dim; ++a) keys(t, a) = 0;  // a head whose keys are zero
    keys(t, 1) = 0;
  }
  auto const p = merged(12);
  EXPECT_NEAR(p.predicted.lost, measured(p).lost, 1e-10 * p.predicted.total);
  EXPECT_LT(p.predicted.lost, p.predicted.total);
}

TEST(alternating_heads_alone, are_for_fusing_and_refuse_what_makes_no_sense) {
  tightkv::rotary const all{4, tightkv::rotary_pairs::half_split};
  auto const group = group_of(related_rows(40, 8, 1), {related_rows(20, 4, 2), related_rows(20, 4, 3)});
  auto const p = tightkv::alternating_heads{all}.merge(group);
  EXPECT_EQ(p.side, tightkv::rope_side::before);
  EXPECT_FALSE(tightkv::commutes_with(p, all));
  EXPECT_THROW(tightkv::stack(std::vector{p}), tightkv::bad_argument);
  auto const refuses = [&](tightkv::alternating_heads const& merger) {
    EXPECT_THROW(merger.merge(group), tightkv::bad_argument);
  };
  refuses({.rotary = all, .over = {.reach = 0}});
  refuses({.rotary = all, .over = {.base = 0}});
  refuses({.rotary = all, .over = {.base = NAN}});
  refuses({.rotary = all, .steps = -1});
  refuses({.rotary = {.channels = 6}});
}

}  // namespace
