// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include <support/near.hpp>
#include <support/rows.hpp>
#include <tightkv/ops/pool_tokens.hpp>

namespace pool_tokens_test {

using namespace tests;
using tightkv::pooling;

std::vector<float> pooled(std::vector<float> scores, int width, pooling how, int length = -1) {
  int const columns = static_cast<int>(scores.size());
  std::vector<int> const lengths{length < 0 ? columns : length};
  tightkv::pool_tokens(tightkv::plain_cpu{}, {scores.data(), 1, columns}, {lengths, width, how});
  return scores;
}

TEST(pool_tokens, averages_with_zeros_outside) {
  expect_near(pooled({3, 6, 9, 30}, 3, pooling::average), {3, 6, 15, 13}, 1e-6);
}

TEST(pool_tokens, takes_the_maximum) { expect_near(pooled({3, 6, 1, 2, 5}, 3, pooling::maximum), {6, 6, 6, 5, 5}, 0); }

TEST(pool_tokens, takes_the_maximum_of_negative_scores_too_with_zeros_outside) {
  expect_near(pooled({-3, -6, -1, -2, -5}, 3, pooling::maximum), {0, -1, -1, -1, 0}, 0);
}

TEST(pool_tokens, of_width_one_changes_nothing) {
  expect_near(pooled({3, -6, NAN}, 1, pooling::average), {3, -6, NAN}, 0);
  expect_near(pooled({3, -6, NAN}, 1, pooling::maximum), {3, -6, NAN}, 0);
}

TEST(pool_tokens, leaves_a_nan_where_it_is_and_counts_it_as_zero_for_its_neighbours) {
  expect_near(pooled({3, NAN, 9}, 3, pooling::average), {1, NAN, 3}, 1e-6);
  expect_near(pooled({3, NAN, 9}, 3, pooling::maximum), {3, NAN, 9}, 0);
}

TEST(pool_tokens, neither_reads_nor_writes_past_a_heads_length) {
  expect_near(pooled({3, 6, 99, NAN}, 3, pooling::average, 2), {3, 3, 99, NAN}, 1e-6);
  expect_near(pooled({3, 6}, 3, pooling::average, 0), {3, 6}, 0);
}

TEST(pool_tokens, of_random_scores_is_what_the_formula_says) {
  auto const numbers = random_numbers(2 * 41, 12);
  for (int const width : {1, 3, 5, 7, 101}) {
    for (pooling const how : {pooling::average, pooling::maximum}) {
      tightkv::matrix<float> scores(2, 41);
      for (std::size_t i = 0; i < numbers.size(); ++i) scores.view().data[i] = static_cast<float>(numbers[i]);
      auto const in = scores;
      std::vector<int> const lengths{41, 17};
      tightkv::pool_tokens(tightkv::plain_cpu{}, scores.view(), {lengths, width, how});
      for (int h = 0; h < 2; ++h) {
        int const length = lengths[static_cast<std::size_t>(h)];
        std::vector<double> want;
        for (int t = 0; t < length; ++t) {
          double sum = 0;
          double most = -1e9;
          for (int i = t - width / 2; i <= t + width / 2; ++i) {
            double const x = i < 0 || i >= length ? 0 : static_cast<double>(in(h, i));
            sum += x;
            most = std::max(most, x);
          }
          want.push_back(how == pooling::average ? sum / width : most);
        }
        for (int t = length; t < 41; ++t) want.push_back(static_cast<double>(in(h, t)));
        expect_near(scores.row(h), want, 1e-6, 1.0);
      }
    }
  }
}

TEST(pool_tokens, refuses_an_even_width_and_lengths_that_do_not_fit) {
  EXPECT_THROW(pooled({1, 2}, 2, pooling::average), tightkv::bad_argument);
  EXPECT_THROW(pooled({1, 2}, 0, pooling::average), tightkv::bad_argument);
  EXPECT_THROW(pooled({1, 2}, -1, pooling::average), tightkv::bad_argument);
  EXPECT_THROW(pooled({1, 2}, 3, pooling::average, 3), tightkv::bad_argument);
  tightkv::matrix<float> scores(2, 2);
  std::vector<int> const one{2};
  EXPECT_THROW(tightkv::pool_tokens(tightkv::plain_cpu{}, scores.view(), {one}), tightkv::bad_argument);
}

}  // namespace pool_tokens_test
