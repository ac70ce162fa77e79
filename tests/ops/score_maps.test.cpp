// SPDX-License-Identifier: Apache-2.0
/// The small ops from scores to scores: mean_of_heads, larger_of, mark_unjudged, random_scores.
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <support/near.hpp>
#include <tightkv/ops/larger_of.hpp>
#include <tightkv/ops/mark_unjudged.hpp>
#include <tightkv/ops/mean_of_heads.hpp>
#include <tightkv/ops/random_scores.hpp>

namespace score_maps_test {

using namespace tests;
using floats = std::vector<float>;

constexpr float inf = std::numeric_limits<float>::infinity();

floats mean_of_heads(floats in, int rows, tightkv::mean_of_heads_fn::shape s, int out_rows) {
  int const columns = static_cast<int>(in.size()) / rows;
  floats out(static_cast<std::size_t>(out_rows * columns), 7.0F);
  tightkv::mean_of_heads(tightkv::plain_cpu{}, {in.data(), rows, columns}, s, {out.data(), out_rows, columns});
  return out;
}

TEST(mean_of_heads, averages_each_group_into_one) {
  EXPECT_EQ(mean_of_heads({1, 2, /**/ 3, 6, /**/ 10, 0, /**/ 20, 4}, 4, {.from = 2, .into = 1}, 2),
            (floats{2, 4, /**/ 15, 2}));
}

TEST(mean_of_heads, averages_all_heads_of_a_layer_into_each_of_its_kv_heads) {
  EXPECT_EQ(mean_of_heads({1, 2, /**/ 3, 6, /**/ 10, 0, /**/ 20, 4}, 4, {.from = 2, .into = 3}, 6),
            (floats{2, 4, 2, 4, 2, 4, /**/ 15, 2, 15, 2, 15, 2}));
}

TEST(mean_of_heads, of_a_nan_is_nan_in_its_token_only) {
  expect_near(mean_of_heads({NAN, 2, /**/ 3, 6}, 2, {.from = 2, .into = 1}, 1), {NAN, 4}, 0);
}

TEST(mean_of_heads, refuses_rows_that_do_not_divide) {
  EXPECT_THROW(mean_of_heads({1, 2, 3}, 3, {.from = 2, .into = 1}, 1), tightkv::bad_argument);
  EXPECT_THROW(mean_of_heads({1, 2, 3, 4}, 4, {.from = 2, .into = 1}, 3), tightkv::bad_argument);
  EXPECT_THROW(mean_of_heads({1, 2}, 2, {.from = 0, .into = 1}, 1), tightkv::bad_argument);
  floats in(2);
  floats out(3);
  EXPECT_THROW(tightkv::mean_of_heads(tightkv::plain_cpu{}, {in.data(), 1, 2}, {}, {out.data(), 1, 3}),
               tightkv::bad_argument);
}

TEST(larger_of, is_the_larger_and_nan_where_either_is) {
  floats const in{1, 5, NAN, 2, NAN, -inf, inf};
  floats out{3, 4, 1, NAN, NAN, -1, 0};
  tightkv::larger_of(tightkv::plain_cpu{}, {in.data(), 1, 7}, {out.data(), 1, 7});
  expect_near({out.data(), 6}, {3, 5, NAN, NAN, NAN, -1}, 0);
  EXPECT_EQ(out[6], inf);
}

TEST(larger_of, refuses_another_shape) {
  floats in(4);
  floats out(4);
  EXPECT_THROW(tightkv::larger_of(tightkv::plain_cpu{}, {in.data(), 1, 4}, {out.data(), 2, 2}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::larger_of(tightkv::plain_cpu{}, {in.data(), 2, 1}, {out.data(), 2, 2}), tightkv::bad_argument);
}

TEST(mark_unjudged, makes_everything_outside_the_range_nan) {
  tightkv::matrix<float> scores(3, 4, 1.0F);
  std::vector<tightkv::token_range> const ranges{{1, 3}, {0, 4}, {4, 4}};
  tightkv::mark_unjudged(tightkv::plain_cpu{}, ranges, scores.view());
  expect_near(scores.row(0), {NAN, 1, 1, NAN}, 0);
  expect_near(scores.row(1), {1, 1, 1, 1}, 0);
  expect_near(scores.row(2), {NAN, NAN, NAN, NAN}, 0);
}

TEST(mark_unjudged, refuses_ranges_outside_the_scores) {
  tightkv::matrix<float> scores(1, 4);
  auto const mark = [&](std::vector<tightkv::token_range> const& ranges) {
    tightkv::mark_unjudged(tightkv::plain_cpu{}, ranges, scores.view());
  };
  EXPECT_THROW(mark({{-1, 2}}), tightkv::bad_argument);
  EXPECT_THROW(mark({{0, 5}}), tightkv::bad_argument);
  EXPECT_THROW(mark({{3, 2}}), tightkv::bad_argument);
  EXPECT_THROW(mark({}), tightkv::bad_argument);
}

floats random_scores(std::vector<int> tokens, std::uint64_t seed, int heads = 1) {
  int const columns = static_cast<int>(tokens.size()) / heads;
  floats out(tokens.size());
  tightkv::random_scores(tightkv::plain_cpu{}, {tokens.data(), heads, columns}, seed, {out.data(), heads, columns});
  return out;
}

TEST(random_scores, belong_to_the_token_not_to_its_place) {
  auto const all = random_scores({0, 1, 2, 3, 4, 5}, 42);
  EXPECT_EQ(random_scores({1, 4, 5}, 42), (floats{all[1], all[4], all[5]}));
}

TEST(random_scores, differ_by_seed_head_and_token_and_are_spread_over_the_unit_interval) {
  std::vector<int> tokens;
  for (int h = 0; h < 4; ++h) {
    for (int t = 0; t < 1000; ++t) tokens.push_back(t);
  }
  std::set<float> seen;
  double sum = 0;
  for (std::uint64_t const seed : {0U, 1U}) {
    for (float const x : random_scores(tokens, seed, 4)) {
      ASSERT_TRUE(x >= 0 && x < 1);
      seen.insert(x);
      sum += static_cast<double>(x);
    }
  }
  EXPECT_GE(seen.size(), 7990U);  // of 8000 among 2^24; about two pairs would be alike by chance
  EXPECT_NEAR(sum / 8000, 0.5, 0.02);
}

TEST(random_scores, never_change) {  // SplitMix64 of seed 0: its first three outputs are well known
  auto const first = [](std::uint64_t output) { return static_cast<float>(output >> 40) * 0x1p-24F; };
  EXPECT_EQ(random_scores({0, 1, 2}, 0),
            (floats{first(0xe220a8397b1dcdafU), first(0x6e789e6aa1b965f4U), first(0x06c45d188009454fU)}));
}

TEST(random_scores, refuse_too_few_token_numbers) {
  std::vector<int> tokens(2);
  floats out(3);
  EXPECT_THROW(tightkv::random_scores(tightkv::plain_cpu{}, {tokens.data(), 1, 2}, 0, {out.data(), 1, 3}),
               tightkv::bad_argument);
}

}  // namespace score_maps_test
