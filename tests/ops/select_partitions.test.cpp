// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <support/oracle.hpp>
#include <tightkv/ops/select_partitions.hpp>

namespace select_partitions_test {

using namespace tests;
using floats = std::vector<float>;
using tightkv::plan;
using parameters = tightkv::select_partitions_fn::parameters;

plan select(floats const& scores, int first, int lag, int quota) {
  int const tokens = static_cast<int>(scores.size());
  std::vector<int> const firsts{first};
  parameters const s{{firsts, lag}, quota};
  std::vector<int> const before{tokens};
  std::vector<int> const after{lag < 1 ? tokens : tightkv::select_partitions_fn::kept(s, 0, tokens)};
  plan p(before, after);
  tightkv::select_partitions(tightkv::plain_cpu{}, {scores.data(), 1, tokens}, s, p);
  return p;
}

TEST(select_partitions, keeps_the_best_of_each_judged_partition_and_all_else) {
  //              first | partition 0 | partition 1 | reference | rest
  floats const scores{0, /**/ 5, 9, 7, /**/ 2, 2, 3, /**/ 0, 0, 0, /**/ 0};
  EXPECT_EQ(select(scores, 1, 3, 1), plan::of({11}, {{0, 2, 6, 7, 8, 9, 10}}));
  EXPECT_EQ(select(scores, 1, 3, 2), plan::of({11}, {{0, 2, 3, 4, 6, 7, 8, 9, 10}}));
}

TEST(select_partitions, keeps_nothing_of_them_or_everything) {
  floats const scores{0, /**/ 5, 9, 7, /**/ 2, 2, 3};
  EXPECT_EQ(select(scores, 1, 3, 0), plan::of({7}, {{0, 4, 5, 6}}));
  EXPECT_FALSE(select(scores, 1, 3, 3).evicts());
}

TEST(select_partitions, evicts_nothing_before_there_are_two_partitions) {
  EXPECT_FALSE(select({1, 2, 3, 4, 5, 6}, 1, 3, 1).evicts());
  EXPECT_FALSE(select({1, 2}, 5, 3, 1).evicts());
  EXPECT_FALSE(select({}, 0, 3, 1).evicts());
}

TEST(select_partitions, counts_nan_scores_of_judged_partitions_only) {
  auto const p = select({NAN, /**/ NAN, 9, 7, /**/ NAN, NAN, NAN}, 1, 3, 2);
  EXPECT_EQ(p, plan::of({7}, {{0, 2, 3, 4, 5, 6}}));
  EXPECT_EQ(p.nan_scores, 1);
}

TEST(select_partitions, has_the_lengths_of_the_papers_formula) {
  struct {
    int tokens, sink, lag, quota, left;
  } const table[] = {
      {271, 16, 128, 64, 271}, {272, 16, 128, 64, 208}, {2000, 16, 128, 64, 1104}, {4096, 16, 1024, 256, 2560}};
  for (auto const& row : table) {
    std::vector<int> const first{row.sink};
    EXPECT_EQ(tightkv::select_partitions_fn::kept({{first, row.lag}, row.quota}, 0, row.tokens), row.left);
  }
}

TEST(select_partitions, is_what_sorting_each_partition_says) {
  std::mt19937 random(14);
  floats scores(103);
  for (float& x : scores) x = static_cast<float>(random() % 7);
  for (int const first : {0, 4, 50, 103}) {
    for (int const lag : {1, 2, 9, 51}) {
      for (int quota = 0; quota <= lag; ++quota) {
        std::vector<int> want;
        int t = 0;
        int const judged = std::max(0, (103 - first) / lag - 1);
        for (; judged > 0 && t < first; ++t) want.push_back(t);
        for (int i = 0; i < judged; ++i, t += lag) {
          for (int const token : oracle::best(scores, t, t + lag, quota)) want.push_back(token);
        }
        for (; t < 103; ++t) want.push_back(t);
        auto const p = select(scores, first, lag, quota);
        ASSERT_EQ(std::vector<int>(p.kept(0).begin(), p.kept(0).end()), want) << first << ' ' << lag << ' ' << quota;
      }
    }
  }
}

TEST(select_partitions, refuses_what_makes_no_sense) {
  floats const scores(10);
  EXPECT_THROW(select(scores, 0, 0, 0), tightkv::bad_argument);
  EXPECT_THROW(select(scores, 0, 3, -1), tightkv::bad_argument);
  EXPECT_THROW(select(scores, 0, 3, 4), tightkv::bad_argument);
  std::vector<int> const lengths{10};
  std::vector<int> const first{0};
  plan wrong_room(lengths, lengths);
  EXPECT_THROW(tightkv::select_partitions(tightkv::plain_cpu{}, {scores.data(), 1, 10}, {{first, 3}, 1}, wrong_room),
               tightkv::bad_argument);
  EXPECT_THROW(tightkv::select_partitions(tightkv::plain_cpu{}, {scores.data(), 1, 9}, {{first, 3}, 3}, wrong_room),
               tightkv::bad_argument);
  EXPECT_THROW(tightkv::select_partitions(tightkv::plain_cpu{}, {scores.data(), 1, 10}, {{{}, 3}, 3}, wrong_room),
               tightkv::bad_argument);
}

}  // namespace select_partitions_test
