// SPDX-License-Identifier: Apache-2.0
/// What LagKV's scores do not depend on, and what they do.
#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include <support/lag.hpp>
#include <support/near.hpp>
#include <support/rows.hpp>

namespace lag_scores_invariants_test {

using namespace tests;
using numbers = std::vector<float>;

constexpr int lag = 8;
constexpr int tokens = 35;  // 3 to protect, 4 partitions, 0 over

/// Small integers, so that powers of two and shifts by integers are exact.
lag_case random_case(int head_dim) {
  lag_case c{.lag = lag, .first = 3, .key_dim = head_dim};
  for (double const x : random_numbers(static_cast<std::size_t>(tokens * head_dim), 6)) {
    c.keys.push_back(static_cast<float>(std::round(16 * x)));
  }
  return c;
}

/// Every value becomes `f(token, channel, value)`.
lag_case changed(lag_case c, std::function<float(int, int, float)> const& f) {
  for (std::size_t i = 0; i < c.keys.size(); ++i) {
    int const at = static_cast<int>(i);
    c.keys[i] = f(at / c.key_dim, at % c.key_dim, c.keys[i]);
  }
  return c;
}

void expect_same_bits(numbers const& got, numbers const& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(same(got[i], want[i])) << "token " << i;
}

TEST(lag_scores_invariants, scaling_and_shifting_a_channel_changes_no_bit) {
  for (int const head_dim : head_dims) {
    auto const c = random_case(head_dim);
    auto const mapped =
        changed(c, [](int, int d, float x) { return std::ldexp(x, d % 7 - 3) + static_cast<float>(d % 11 - 5); });
    expect_same_bits(mapped.scores(), c.scores());
  }
}

TEST(lag_scores_invariants, of_the_example_whose_channels_are_scaled_and_shifted) {
  lag_case const c{.lag = 3, .key_dim = 3, .keys = {1, 2, 3, 4, 0, 2, 2, 2, 2, 0, 0, 0, 4, 4, 4, 1, 1, 1}};
  auto const mapped = changed(c, [](int, int d, float x) { return d == 0 ? 4 * x - 7 : d == 1 ? 0.5F * x + 100 : x; });
  expect_same_bits(mapped.scores(), c.scores());
}

TEST(lag_scores_invariants, turning_the_sign_of_all_channels_changes_nothing_but_of_one_it_does) {
  lag_case const c{.lag = 2, .key_dim = 2, .keys = {1, 3, 2, 2, 0, 0, 4, 4}};
  expect_near(changed(c, [](int, int, float x) { return -x; }).scores(), c.scores_in_double(), 1e-6);
  expect_near(changed(c, [](int, int d, float x) { return d == 0 ? -x : x; }).scores(), {0.5, 0.5, NAN, NAN}, 1e-6);
}

TEST(lag_scores_invariants, the_order_of_channels_changes_nothing) {
  auto const c = random_case(80);
  auto const reversed =
      changed(c, [&](int t, int d, float) { return c.keys[static_cast<std::size_t>(t * 80 + 79 - d)]; });
  expect_near(reversed.scores(), c.scores_in_double(), 1e-6);
}

TEST(lag_scores_invariants, the_order_of_a_partitions_tokens_permutes_its_scores_and_changes_no_other) {
  auto const c = random_case(16);
  // Tokens 11 ... 18, the second partition, backwards.
  auto const from = [](int t) { return t >= 11 && t < 19 ? 29 - t : t; };
  auto const reversed =
      changed(c, [&](int t, int d, float) { return c.keys[static_cast<std::size_t>(from(t) * 16 + d)]; });
  auto const before = c.scores();
  auto const after = reversed.scores();
  for (int t = 0; t < tokens; ++t) {
    float const want = before[static_cast<std::size_t>(from(t))];
    if (t >= 11 && t < 19) {
      EXPECT_NEAR(after[static_cast<std::size_t>(t)], want, 1e-6F) << t;  // its softmax is summed in another order
    } else {
      EXPECT_TRUE(same(after[static_cast<std::size_t>(t)], want)) << t;
    }
  }
}

TEST(lag_scores_invariants, tokens_outside_the_partitions_are_not_read) {
  auto c = random_case(16);
  c.keys.resize(c.keys.size() + 5 * 16, 1.0F);  // a rest that fills no partition
  auto const poisoned = changed(c, [](int t, int, float x) { return t < 3 || t >= 35 ? NAN : x; });
  expect_same_bits(poisoned.scores(), c.scores());
}

TEST(lag_scores_invariants, a_constant_channel_changes_no_bit) {
  auto const c = random_case(64);
  lag_case wider{.lag = lag, .first = 3, .key_dim = 65};
  for (int t = 0; t < tokens; ++t) {
    auto const row = c.keys.begin() + t * 64;
    wider.keys.insert(wider.keys.end(), row, row + 64);
    wider.keys.push_back(-3.5F);
  }
  expect_same_bits(wider.scores(), c.scores());
}

TEST(lag_scores_invariants, each_judged_partition_sums_to_one_and_to_two_with_values) {
  auto c = random_case(96);
  auto const sum = [&](int begin) {
    auto const s = c.scores_in_double();
    double total = 0;
    for (int t = begin; t < begin + lag; ++t) total += s[static_cast<std::size_t>(t)];
    return total;
  };
  for (int const begin : {3, 11, 19}) EXPECT_NEAR(sum(begin), 1, 1e-6);
  EXPECT_TRUE(std::isnan(sum(27)));  // reference only
  c.value_dim = 96;
  c.values = c.keys;
  for (int const begin : {3, 11, 19}) EXPECT_NEAR(sum(begin), 2, 1e-6);
}

}  // namespace lag_scores_invariants_test
