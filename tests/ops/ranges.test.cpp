// SPDX-License-Identifier: Apache-2.0
/// token_range, protected_tokens and freed_pages.
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/ops/freed_pages.hpp>
#include <tightkv/ops/token_range.hpp>

namespace ranges_test {

using tightkv::plan;
using tightkv::protected_tokens;
using tightkv::token_range;

TEST(protected_tokens, leave_what_lies_between_sink_and_recent_to_judge) {
  EXPECT_EQ((protected_tokens{4, 3}.judged(10)), (token_range{4, 7}));
  EXPECT_EQ((protected_tokens{0, 0}.judged(10)), (token_range{0, 10}));
  EXPECT_EQ((protected_tokens{4, 3}.judged(8)), (token_range{4, 5}));
}

TEST(protected_tokens, leave_nothing_of_a_short_cache) {
  for (int const tokens : {0, 1, 3, 4, 6, 7}) {
    EXPECT_EQ((protected_tokens{4, 3}.judged(tokens).size()), 0) << tokens;
    EXPECT_EQ((protected_tokens{4, 3}.judged(tokens).begin), tokens);
  }
}

TEST(protected_tokens, must_not_be_negative_nor_overflow) {
  EXPECT_NO_THROW((protected_tokens{(1 << 30) - 1, (1 << 30) - 1}.check("test")));
  EXPECT_GT((protected_tokens{(1 << 30) - 1, (1 << 30) - 1}.count()), 0);
  EXPECT_THROW((protected_tokens{-1, 0}.check("test")), tightkv::bad_argument);
  EXPECT_THROW((protected_tokens{0, -1}.check("test")), tightkv::bad_argument);
  EXPECT_THROW((protected_tokens{1 << 30, 0}.check("test")), tightkv::bad_argument);
  EXPECT_THROW((protected_tokens{0, 1 << 30}.check("test")), tightkv::bad_argument);
}

TEST(freed_pages, are_those_past_the_longest_head) {
  auto const p = plan::of({9, 9, 9}, {{0, 1}, {0, 1, 2, 3, 4}, {}});
  EXPECT_EQ(tightkv::freed_pages(p, {4, {0, 3}}), (token_range{2, 3}));
  EXPECT_EQ(tightkv::freed_pages(p, {4, {0, 1}}), (token_range{1, 3}));
  EXPECT_EQ(tightkv::freed_pages(p, {4, {2, 3}}), (token_range{0, 3}));
  EXPECT_EQ(tightkv::freed_pages(p, {1, {0, 3}}), (token_range{5, 9}));
  EXPECT_EQ(tightkv::freed_pages(p, {100, {0, 3}}).size(), 0);
}

TEST(freed_pages, of_exactly_full_pages_and_of_no_heads) {
  EXPECT_EQ(tightkv::freed_pages(plan::of({8}, {{0, 1, 2, 3}}), {4, {0, 1}}), (token_range{1, 2}));
  EXPECT_EQ(tightkv::freed_pages(plan::of({8}, {{0, 1, 2, 3}}), {4, {1, 1}}), (token_range{0, 0}));
}

TEST(freed_pages, refuse_other_heads_than_the_plans) {
  auto const p = plan::of({2}, {{0}});
  EXPECT_THROW(tightkv::freed_pages(p, {0, {0, 1}}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::freed_pages(p, {4, {0, 2}}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::freed_pages(p, {4, {-1, 1}}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::freed_pages(p, {4, {1, 0}}), tightkv::bad_argument);
}

}  // namespace ranges_test
