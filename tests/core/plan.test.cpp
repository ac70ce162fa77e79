// SPDX-License-Identifier: Apache-2.0
#include <memory_resource>
#include <sstream>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/core/plan.hpp>

namespace {

using tightkv::plan;
using ints = std::vector<int>;

ints kept(plan const& p, int h) { return {p.kept(h).begin(), p.kept(h).end()}; }

TEST(plan, says_what_each_head_keeps_and_the_lengths_before_and_after) {
  auto const p = plan::of({5, 3, 2}, {{0, 2, 4}, {}, {0, 1}});
  EXPECT_EQ(p.heads(), 3);
  EXPECT_EQ(p.before(0), 5);
  EXPECT_EQ(p.after(0), 3);
  EXPECT_EQ(p.before(1), 3);
  EXPECT_EQ(p.after(1), 0);
  EXPECT_EQ(kept(p, 0), (ints{0, 2, 4}));
  EXPECT_EQ(kept(p, 1), ints{});
  EXPECT_EQ(kept(p, 2), (ints{0, 1}));
  EXPECT_EQ(ints(p.lengths().begin(), p.lengths().end()), (ints{3, 0, 2}));
  EXPECT_EQ(p.nan_scores, 0);
}

TEST(plan, is_filled_in_through_kept) {
  ints const before{4, 4};
  ints const after{2, 1};
  plan p(before, after);
  p.kept(0)[0] = 1;
  p.kept(0)[1] = 3;
  p.kept(1)[0] = 2;
  EXPECT_EQ(p, plan::of({4, 4}, {{1, 3}, {2}}));
}

TEST(plan, that_keeps_all_evicts_nothing) {
  ints const lengths{3, 0, 2};
  auto const p = plan::keep_all(lengths);
  EXPECT_EQ(p, plan::of({3, 0, 2}, {{0, 1, 2}, {}, {0, 1}}));
  EXPECT_FALSE(p.evicts());
  EXPECT_TRUE(plan::of({3}, {{0, 1}}).evicts());
  EXPECT_FALSE(plan{}.evicts());
  EXPECT_EQ(plan{}.heads(), 0);
}

TEST(plan, equals_another_with_the_same_lengths_and_tokens) {
  auto const p = plan::of({4, 4}, {{1, 3}, {2}});
  EXPECT_EQ(p, p);
  EXPECT_NE(p, plan::of({4, 4}, {{1, 2}, {2}}));
  EXPECT_NE(p, plan::of({4, 5}, {{1, 3}, {2}}));
  EXPECT_NE(p, plan::of({4, 4}, {{1}, {3, 2}}));  // the same tokens, cut elsewhere
  auto with_nans = p;
  with_nans.nan_scores = 9;
  EXPECT_EQ(p, with_nans);  // how it came about is no part of it
}

TEST(plan, prints_what_it_keeps) {
  std::ostringstream out;
  out << plan::of({5, 3}, {{0, 2, 4}, {}});
  EXPECT_EQ(out.str(), "head 0: 5 -> 3 {0, 2, 4}\nhead 1: 3 -> 0 {}\n");
}

TEST(plan, takes_its_memory_from_the_resource_it_is_given) {
  ints const lengths{100, 100};
  std::byte room[4096];
  std::pmr::monotonic_buffer_resource arena(room, sizeof room, std::pmr::null_memory_resource());
  auto const p = plan::keep_all(lengths, &arena);
  auto const* const at = reinterpret_cast<std::byte const*>(p.kept(0).data());
  EXPECT_TRUE(room <= at && at < room + sizeof room);
}

TEST(plan, refuses_lists_and_lengths_that_do_not_match) {
  EXPECT_THROW(plan::of({4, 4}, {{1}}), tightkv::bad_argument);
  ints const two{4, 4};
  ints const one{2};
  ints const negative{-1, 3};
  EXPECT_THROW(plan(two, one), tightkv::bad_argument);
  EXPECT_THROW(plan(one, two), tightkv::bad_argument);
  EXPECT_THROW(plan(two, negative), tightkv::bad_argument);
}

}  // namespace
