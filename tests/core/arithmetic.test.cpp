// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/rows.hpp>
#include <tightkv/core/arithmetic.hpp>
#include <tightkv/view/row.hpp>

namespace {

using tests::bits_of;
namespace detail = tightkv::detail;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

TEST(arithmetic, exp_is_within_two_ulp) {
  double worst = 0;
  auto const check = [&](float x) {
    double const exact = std::exp(static_cast<double>(x));
    auto const nearest = static_cast<float>(exact);
    double const ulp = static_cast<double>(std::nextafter(nearest, inf)) - static_cast<double>(nearest);
    worst = std::max(worst, std::abs(static_cast<double>(detail::exp(x)) - exact) / ulp);
  };
  for (float const end : {-87.0F, 88.0F}) {
    for (std::uint32_t bits = bits_of(std::copysign(0.0F, end)); bits <= bits_of(end); bits += 4001) {
      check(detail::bits_as<float>(bits));
    }
    check(end);
  }
  for (int n = -125; n <= 126; ++n) {  // where the polynomial changes its interval
    auto const edge = static_cast<float>((n + 0.5) * std::log(2.0));
    for (float const x : {edge, std::nextafter(edge, inf), std::nextafter(edge, -inf)}) check(x);
  }
  EXPECT_LE(worst, 2.0);
}

TEST(arithmetic, exp_at_its_ends) {
  EXPECT_EQ(detail::exp(0.0F), 1.0F);
  EXPECT_EQ(detail::exp(-0.0F), 1.0F);
  EXPECT_EQ(detail::exp(std::nextafter(-87.0F, -inf)), 0.0F);
  EXPECT_EQ(detail::exp(-1e30F), 0.0F);
  EXPECT_EQ(detail::exp(-inf), 0.0F);
  EXPECT_TRUE(std::isnan(detail::exp(nan)));
}

TEST(arithmetic, exp_never_changes_a_bit) {
  std::uint64_t hash = 14695981039346656037U;  // FNV-1a of its values: a kernel elsewhere must give the same
  for (std::uint32_t bits = bits_of(-0.0F); bits <= bits_of(-87.0F); bits += 40009) {
    hash = (hash ^ bits_of(detail::exp(detail::bits_as<float>(bits)))) * 1099511628211U;
  }
  EXPECT_EQ(hash, 16876209683324380718U);
}

TEST(arithmetic, sums_run_in_sixteen_lanes_folded_by_halves) {
  for (int const n : {0, 1, 15, 16, 17, 80, 96, 256}) {
    auto const numbers = tests::random_numbers(static_cast<std::size_t>(n), 1);
    std::vector<float> x(numbers.begin(), numbers.end());
    // Written out: lane i has the elements i, i + 16, ..., each added with one rounding.
    float lane[16] = {};
    for (int i = 0; i < n; ++i) {
      auto const d = static_cast<double>(x[static_cast<std::size_t>(i)]);
      lane[i % 16] = static_cast<float>(d * d + static_cast<double>(lane[i % 16]));
    }
    float const want = (((lane[0] + lane[8]) + (lane[4] + lane[12])) + ((lane[2] + lane[10]) + (lane[6] + lane[14]))) +
                       (((lane[1] + lane[9]) + (lane[5] + lane[13])) + ((lane[3] + lane[11]) + (lane[7] + lane[15])));
    float const got = detail::sum_of_squares(tightkv::row<float>{x.data(), n});
    EXPECT_EQ(bits_of(got), bits_of(want)) << n;
    EXPECT_EQ(bits_of(detail::dot(tightkv::row<float>{x.data(), n}, x.data())), bits_of(want)) << n;
  }
}

TEST(arithmetic, the_order_of_the_lanes_matters_to_this_sum) {
  // 1 + 2^24 + 2^24 ... rounds differently in another order: only the specified one gives this.
  detail::lane_sum sum;
  float const x[] = {1, 0x1p24F, 1, -0x1p24F, 1, 0, 0, 0, /**/ 1, 0, 0, 0, 0, 0, 0, 0, /**/ 1};
  for (int i = 0; i < 17; ++i) sum.add(i, x[i]);
  // Lanes: 0 has 1 + 1, 8 has 1, 4 has 1, 2 has 1, 1 has 2^24 and 3 has -2^24.
  EXPECT_EQ(sum.total(), (((2.0F + 1) + 1) + 1) + (0x1p24F + -0x1p24F));
}

TEST(arithmetic, a_multiply_add_rounds_once) {
  float const x = 1 + 0x1p-12F;
  detail::lane_sum sum;
  sum.add(0, -1 - 0x1p-11F);
  sum.add_product(0, x, x);
  EXPECT_EQ(sum.total(), 0x1p-24F);  // 0 if the product were rounded first
}

TEST(arithmetic, tells_what_is_finite) {
  for (float const x : {0.0F, -0.0F, 1e-45F, std::numeric_limits<float>::max(), -3e38F}) {
    EXPECT_TRUE(detail::is_finite(x)) << x;
  }
  for (float const x : {inf, -inf, nan, -nan}) EXPECT_FALSE(detail::is_finite(x)) << x;
  float row[] = {1, 2, 3};
  EXPECT_TRUE(detail::all_finite(tightkv::row<float>{row, 3}));
  row[2] = nan;
  EXPECT_FALSE(detail::all_finite(tightkv::row<float>{row, 3}));
  EXPECT_TRUE(detail::all_finite(tightkv::row<float>{row, 2}));
}

TEST(arithmetic, selection_keys_order_scores_then_tokens) {
  float const ascending[] = {nan, -inf, -3e38F, -1, -1e-45F, 0.0F, 1e-45F, 1, 3e38F, inf};
  for (std::size_t a = 0; a < std::size(ascending); ++a) {
    EXPECT_EQ(detail::token_of(detail::selection_key(ascending[a], 123)), 123);
    EXPECT_GT(detail::selection_key(ascending[a], 3), detail::selection_key(ascending[a], 4));
    for (std::size_t b = 0; b < a; ++b) {
      EXPECT_GT(detail::selection_key(ascending[a], 9), detail::selection_key(ascending[b], 0)) << a << ' ' << b;
    }
  }
}

TEST(arithmetic, selection_keys_take_zeros_for_equal_and_nans_too) {
  EXPECT_EQ(detail::selection_key(-0.0F, 7), detail::selection_key(0.0F, 7));
  EXPECT_EQ(detail::selection_key(-nan, 7), detail::selection_key(nan, 7));
  EXPECT_EQ(detail::selection_key(detail::bits_as<float>(0xffffffffU), 7), detail::selection_key(nan, 7));
}

}  // namespace
