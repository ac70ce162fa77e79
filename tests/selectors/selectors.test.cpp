// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include <tightkv/selectors/partition_top_k.hpp>
#include <tightkv/selectors/top_k.hpp>

namespace tests {
namespace {

using tightkv::cpu;
using tightkv::plan;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

tightkv::matrix<float> scores_of(std::vector<std::vector<float>> const& rows) {
  tightkv::matrix<float> m(static_cast<int>(rows.size()), static_cast<int>(rows[0].size()));
  for (int h = 0; h < m.rows(); ++h) {
    for (int t = 0; t < m.cols(); ++t) m(h, t) = rows[static_cast<std::size_t>(h)][static_cast<std::size_t>(t)];
  }
  return m;
}

plan best(std::vector<float> const& row, tightkv::protected_tokens const& protect, int keep) {
  tightkv::candidates from(std::pmr::get_default_resource());
  from.add(static_cast<int>(row.size()), protect, keep);
  return tightkv::top_k{}.select(cpu{}, scores_of({row}).view(), from);
}

TEST(candidates, are_what_lies_between_the_protected_ends) {
  tightkv::candidates from(std::pmr::get_default_resource());
  from.add(10, {.sink = 2, .recent = 3}, 6);
  from.add(5, {.sink = 2, .recent = 3}, 5);
  from.add(0, {.sink = 2, .recent = 3}, 0);
  EXPECT_EQ(from.judged[0], (tightkv::token_range{2, 7}));
  EXPECT_EQ(from.judged[1].size(), 0);
  EXPECT_EQ(from.judged[2].size(), 0);
  EXPECT_EQ(from.lengths[0], 10);
  EXPECT_EQ(from.kept[0], 6);
}

TEST(top_k, keeps_the_best_between_the_ends_in_order) {
  EXPECT_EQ(best({9, 1, 5, 3, 4, 2, 0, 9}, {}, 3), plan::of({8}, {{0, 2, 7}}));
  EXPECT_EQ(best({0, 1, 5, 3, 4, 2, 9, 0}, {.sink = 1, .recent = 1}, 4), plan::of({8}, {{0, 2, 6, 7}}));
  EXPECT_EQ(best({0, 9, 9, 9, 0}, {.sink = 1, .recent = 1}, 2), plan::of({5}, {{0, 4}}));
  EXPECT_EQ(best({3, 2, 1}, {}, 0), plan::of({3}, {{}}));
  EXPECT_EQ(best({3, 2, 1}, {.sink = 9}, 3), plan::of({3}, {{0, 1, 2}}));
}

TEST(top_k, prefers_the_earlier_of_equals_and_anything_to_nan) {
  EXPECT_EQ(best({1, 1, 1, 1}, {}, 2), plan::of({4}, {{0, 1}}));
  EXPECT_EQ(best({-0.0F, 0.0F, -0.0F}, {}, 2), plan::of({3}, {{0, 1}}));
  EXPECT_EQ(best({nan, -1, nan, -std::numeric_limits<float>::infinity()}, {}, 2), plan::of({4}, {{1, 3}}));
  EXPECT_EQ(best({nan, -1, nan, nan}, {}, 3), plan::of({4}, {{0, 1, 2}}));
  EXPECT_EQ(best({nan, -1, nan, -2}, {}, 2).nan_scores, 2);
  EXPECT_EQ(best({nan, -1, nan, -2}, {.sink = 1}, 2).nan_scores, 1) << "what is protected is not judged";
}

TEST(top_k, lets_heads_differ_in_length_and_in_what_they_keep) {
  auto const scores = scores_of({{1, 2, 3, 4}, {4, 3, nan, nan}});
  tightkv::candidates from(std::pmr::get_default_resource());
  from.add(4, {.sink = 1}, 3);
  from.add(2, {}, 1);
  EXPECT_EQ(tightkv::top_k{}.select(cpu{}, scores.view(), from), plan::of({4, 2}, {{0, 2, 3}, {0}}));
}

TEST(top_k, refuses_to_keep_less_than_is_protected_or_more_than_there_is) {
  EXPECT_THROW(best({1, 2, 3}, {.sink = 1, .recent = 1}, 1), tightkv::bad_argument);
  EXPECT_THROW(best({1, 2, 3}, {}, 4), tightkv::bad_argument);
  EXPECT_THROW(best({1, 2, 3}, {}, -1), tightkv::bad_argument);
}

TEST(top_k, agrees_with_sorting) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> row(1 + random() % 60);
    for (float& x : row) x = random() % 7 == 0 ? nan : static_cast<float>(random() % 9);  // many ties
    std::vector<int> order(row.size());
    for (std::size_t i = 0; i < row.size(); ++i) order[i] = static_cast<int>(i);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      float const x = row[static_cast<std::size_t>(a)];
      float const y = row[static_cast<std::size_t>(b)];
      return std::isnan(y) ? !std::isnan(x) : x > y;
    });
    auto const keep = static_cast<std::size_t>(random() % (row.size() + 1));
    std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(keep));
    auto const p = best(row, {}, static_cast<int>(keep));
    EXPECT_TRUE(std::equal(p.kept(0).begin(), p.kept(0).end(), order.begin(),
                           order.begin() + static_cast<std::ptrdiff_t>(keep)))
        << p;
  }
}

TEST(partition_top_k, keeps_the_best_of_every_partition_that_has_another_after_it) {
  auto const scores = scores_of({{9, 1, 2, 3, 6, 5, 4, nan, nan, nan, nan}});
  int const length[] = {11};
  int const first[] = {1};
  tightkv::lag_partitions const partitions{.first = first, .lag = 3};
  auto const select = [&](int quota) {
    return tightkv::partition_top_k{quota}.select(cpu{}, scores.view(), length, partitions);
  };
  EXPECT_EQ(select(1), plan::of({11}, {{0, 3, 4, 7, 8, 9, 10}}));
  EXPECT_EQ(select(2), plan::of({11}, {{0, 2, 3, 4, 5, 7, 8, 9, 10}}));
  EXPECT_EQ(select(0), plan::of({11}, {{0, 7, 8, 9, 10}}));
  EXPECT_FALSE(select(3).evicts());
  EXPECT_EQ(select(1).nan_scores, 0);
  EXPECT_THROW(select(4), tightkv::bad_argument);
  EXPECT_THROW(select(-1), tightkv::bad_argument);
}

TEST(partition_top_k, keeps_all_of_a_head_too_short_to_judge) {
  auto const scores = scores_of({{nan, nan, nan, nan, nan}, {nan, 1, 2, nan, nan}});
  int const lengths[] = {4, 5};
  int const first[] = {1, 1};
  tightkv::lag_partitions const partitions{.first = first, .lag = 2};
  EXPECT_EQ((tightkv::partition_top_k{1}.select(cpu{}, scores.view(), lengths, partitions)),
            plan::of({4, 5}, {{0, 1, 2, 3}, {0, 2, 3, 4}}));
}

}  // namespace
}  // namespace tests
