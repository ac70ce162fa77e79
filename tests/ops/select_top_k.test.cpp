// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <support/oracle.hpp>
#include <tightkv/ops/select_top_k.hpp>

namespace select_top_k_test {

using namespace tests;
using floats = std::vector<float>;
using tightkv::plan;
using tightkv::token_range;

constexpr float inf = std::numeric_limits<float>::infinity();

/// One head keeps `count` of the tokens in the range and all outside it.
plan select(floats const& scores, token_range range, int count) {
  int const tokens = static_cast<int>(scores.size());
  std::vector<int> const before{tokens};
  std::vector<int> const after{tokens - range.size() + count};
  std::vector<token_range> const ranges{range};
  plan p(before, after);
  tightkv::select_top_k(tightkv::plain_cpu{}, {scores.data(), 1, tokens}, ranges, p);
  return p;
}

std::vector<int> kept(plan const& p) { return {p.kept(0).begin(), p.kept(0).end()}; }
std::vector<int> best(floats const& scores, int count) {
  return kept(select(scores, {0, static_cast<int>(scores.size())}, count));
}

TEST(select_top_k, keeps_the_best_in_ascending_order) {
  EXPECT_EQ(best({1, 9, 3, 7, 5}, 3), (std::vector{1, 3, 4}));
  EXPECT_EQ(best({-1, -9, -3}, 1), std::vector{0});
}

TEST(select_top_k, keeps_the_earlier_of_equals) {
  EXPECT_EQ(best({2, 5, 2, 5, 2}, 3), (std::vector{0, 1, 3}));
  EXPECT_EQ(best(floats(5, 1.0F), 2), (std::vector{0, 1}));
  EXPECT_EQ(best({-0.0F, 0.0F, -1, 0.0F}, 2), (std::vector{0, 1}));
}

TEST(select_top_k, ranks_infinities_as_numbers) {
  EXPECT_EQ(best({0, inf, -inf, inf}, 1), std::vector{1});
  EXPECT_EQ(best({0, inf, -inf, inf}, 3), (std::vector{0, 1, 3}));
}

TEST(select_top_k, ranks_nan_last_and_counts_it) {
  auto const p = select({NAN, -inf, -NAN, 3}, {0, 4}, 2);
  EXPECT_EQ(kept(p), (std::vector{1, 3}));
  EXPECT_EQ(p.nan_scores, 2);
  EXPECT_EQ(best({NAN, NAN, 1}, 2), (std::vector{0, 2}));  // of NaNs, too, the earlier
  EXPECT_EQ(select({NAN, 1, NAN}, {0, 3}, 0).nan_scores, 2);
}

TEST(select_top_k, keeps_what_lies_outside_the_range_whatever_its_score) {
  auto const p = select({NAN, -inf, 1, 2, 3, -inf}, {2, 5}, 1);
  EXPECT_EQ(kept(p), (std::vector{0, 1, 4, 5}));
  EXPECT_EQ(p.nan_scores, 0);  // of the judged ones
}

TEST(select_top_k, gives_each_head_its_own_range_and_number) {
  tightkv::matrix<float> scores(3, 4);
  for (int t = 0; t < 4; ++t) scores(0, t) = scores(1, t) = scores(2, t) = static_cast<float>(t);
  scores(1, 0) = NAN;
  std::vector<int> const before{4, 3, 0};
  std::vector<int> const after{1, 3, 0};
  std::vector<token_range> const ranges{{0, 4}, {0, 1}, {0, 0}};
  plan p(before, after);
  tightkv::select_top_k(tightkv::plain_cpu{}, std::as_const(scores).view(), ranges, p);
  EXPECT_EQ(p, plan::of({4, 3, 0}, {{3}, {0, 1, 2}, {}}));
  EXPECT_EQ(p.nan_scores, 1);
}

/// Scores that break selection algorithms.
std::vector<std::pair<std::string, floats>> distributions(int tokens) {
  std::mt19937 random(13);
  auto const make = [&](auto&& f) {
    floats v(static_cast<std::size_t>(tokens));
    for (int t = 0; t < tokens; ++t) v[static_cast<std::size_t>(t)] = f(t);
    return v;
  };
  auto const uniform = [&] { return static_cast<float>(random()) * 0x1p-32F; };
  constexpr float choices[] = {NAN, -NAN, inf, -inf, 0.0F, -0.0F, 1.0F, -1.0F, 1e-45F, -1e-45F};
  return {{"ascending", make([](int t) { return static_cast<float>(t); })},
          {"descending", make([](int t) { return static_cast<float>(-t); })},
          {"organ pipe", make([&](int t) { return static_cast<float>(std::min(t, tokens - t)); })},
          {"equal", make([](int) { return 0.25F; })},
          {"two values", make([&](int) { return random() % 2 == 0 ? 1.0F : 2.0F; })},
          {"shared leading bits", make([&](int) { return 1.0F + uniform() * 0x1p-20F; })},
          {"anything", make([&](int) { return uniform() - 0.5F; })},
          {"few special values", make([&](int) { return choices[random() % std::size(choices)]; })},
          {"mostly infinite", make([&](int) { return random() % 5 == 0 ? uniform() : inf; })},
          {"any bits", make([&](int) {
             auto const bits = static_cast<std::uint32_t>(random());
             return tightkv::detail::bits_as<float>(bits);
           })}};
}

TEST(select_top_k, is_what_a_stable_sort_says_for_every_count_and_distribution) {
  for (int const tokens : {1, 2, 3, 17, 64, 67}) {
    for (auto const& [name, scores] : distributions(tokens)) {
      SCOPED_TRACE(name);
      for (int count = 0; count <= tokens; ++count) {
        ASSERT_EQ(best(scores, count), oracle::best(scores, 0, tokens, count)) << count << " of " << tokens;
      }
    }
  }
  for (auto const& [name, scores] : distributions(3001)) {
    SCOPED_TRACE(name);
    for (int const count : {1, 750, 1500, 3000}) ASSERT_EQ(best(scores, count), oracle::best(scores, 0, 3001, count));
  }
}

TEST(select_top_k, refuses_ranges_and_numbers_that_do_not_fit) {
  floats const scores(4);
  EXPECT_THROW(select(scores, {-1, 2}, 1), tightkv::bad_argument);
  EXPECT_THROW(select(scores, {0, 5}, 1), tightkv::bad_argument);
  EXPECT_THROW(select(scores, {3, 1}, 0), tightkv::bad_argument);
  EXPECT_THROW(select(scores, {1, 3}, -1), tightkv::bad_argument);
  EXPECT_THROW(select(scores, {1, 3}, 3), tightkv::bad_argument);
  std::vector<int> const lengths{4};
  std::vector<token_range> const ranges{{0, 4}};
  plan p(lengths, lengths);
  EXPECT_THROW(tightkv::select_top_k(tightkv::plain_cpu{}, {scores.data(), 1, 3}, ranges, p), tightkv::bad_argument);
  EXPECT_THROW(tightkv::select_top_k(tightkv::plain_cpu{}, {scores.data(), 2, 2}, ranges, p), tightkv::bad_argument);
  EXPECT_THROW(tightkv::select_top_k(tightkv::plain_cpu{}, {scores.data(), 1, 4}, {}, p), tightkv::bad_argument);
}

}  // namespace select_top_k_test
