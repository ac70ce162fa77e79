// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/near.hpp>
#include <tightkv/ops/rank_tokens.hpp>

namespace rank_tokens_test {

using namespace tests;
using floats = std::vector<float>;

constexpr float inf = std::numeric_limits<float>::infinity();

floats ranked(floats scores, tightkv::token_range range, int block = 1000, float divisor = 1) {
  std::vector<tightkv::token_range> const ranges{range};
  tightkv::rank_tokens(tightkv::plain_cpu{}, {scores.data(), 1, static_cast<int>(scores.size())},
                       {ranges, block, divisor});
  return scores;
}

TEST(rank_tokens, counts_the_tokens_each_beats) {
  expect_near(ranked({3, -1, inf, 0, -inf}, {0, 5}), {3, 1, 4, 2, 0}, 0);
}

TEST(rank_tokens, ranks_the_earlier_of_equals_higher) {
  expect_near(ranked({5, 5, 5}, {0, 3}), {2, 1, 0}, 0);
  expect_near(ranked({-0.0F, 0.0F}, {0, 2}), {1, 0}, 0);
}

TEST(rank_tokens, leaves_nan_where_it_is_beaten_by_all) {
  expect_near(ranked({3, NAN, 1, NAN}, {0, 4}), {3, NAN, 2, NAN}, 0);
}

TEST(rank_tokens, ranks_within_blocks_of_which_the_last_may_be_short) {
  expect_near(ranked({9, 1, 8, 7, 3, 4, 2}, {1, 7}, 4, 4), {9, 0, 0.75, 0.5, 0.25, 0.25, 0}, 0);
}

TEST(rank_tokens, does_not_touch_tokens_outside_the_range) {
  expect_near(ranked({9, 1, 8, 7}, {1, 3}), {9, 0, 1, 7}, 0);
  expect_near(ranked({9, 1}, {1, 1}), {9, 1}, 0);
}

TEST(rank_tokens, refuses_what_makes_no_sense) {
  EXPECT_THROW(ranked({1, 2}, {0, 3}), tightkv::bad_argument);
  EXPECT_THROW(ranked({1, 2}, {-1, 1}), tightkv::bad_argument);
  EXPECT_THROW(ranked({1, 2}, {2, 1}), tightkv::bad_argument);
  EXPECT_THROW(ranked({1, 2}, {0, 2}, 0), tightkv::bad_argument);
  floats scores(2);
  EXPECT_THROW(tightkv::rank_tokens(tightkv::plain_cpu{}, {scores.data(), 1, 2}, {}), tightkv::bad_argument);
}

}  // namespace rank_tokens_test
