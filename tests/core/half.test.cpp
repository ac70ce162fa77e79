// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <limits>

#include <gtest/gtest.h>

#include <support/rows.hpp>
#include <tightkv/core/half.hpp>

namespace {

using tests::bits_of;
using tightkv::bfloat16;
using tightkv::half;
using tightkv::detail::bits_as;

constexpr float inf = std::numeric_limits<float>::infinity();

/// The nearest number with `digits` significant bits, ties to even, worked out in double: exponents no lower than
/// `lowest`, infinite past `largest`.
double rounded(float x, int digits, int lowest, double largest) {
  if (x == 0 || !std::isfinite(x)) return static_cast<double>(x);
  int const exponent = std::max(std::ilogb(x), lowest);
  double const quantum = std::ldexp(1.0, exponent - (digits - 1));
  double const r = std::nearbyint(static_cast<double>(x) / quantum) * quantum;
  return std::abs(r) > largest ? std::copysign(HUGE_VAL, r) : r;
}
double as_half(float x) { return rounded(x, 11, -14, 65504); }
double as_bfloat16(float x) { return rounded(x, 8, -126, 0x1.fep127); }

template <class T>
void expect_rounds(float x, double want) {
  float const got = static_cast<float>(T(x));
  if (x != x) {
    ASSERT_TRUE(got != got) << std::hexfloat << x;
    ASSERT_EQ(std::signbit(got), std::signbit(x));
  } else {
    ASSERT_EQ(bits_of(got), bits_of(static_cast<float>(want))) << std::hexfloat << x << " became " << got;
  }
}

/// A float, its neighbours, and all of their negatives.
template <class F>
void around(float x, F&& f) {
  for (float const y : {x, std::nextafter(x, inf), std::nextafter(x, -inf)}) f(y), f(-y);
}

TEST(half, of_every_pattern_comes_back_from_float) {
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    half h;
    h.bits = static_cast<std::uint16_t>(i);
    auto const x = static_cast<float>(h);
    auto const back = half(x).bits;
    bool const nan = (i & 0x7fffU) > 0x7c00U;
    ASSERT_EQ(nan, x != x);
    ASSERT_EQ(back, nan ? i | 0x200U : i);  // a NaN becomes quiet and keeps its payload
  }
}

TEST(half, of_every_finite_pattern_is_its_value) {
  for (std::uint32_t i = 0; i < 0x7c00; ++i) {
    half h;
    h.bits = static_cast<std::uint16_t>(i);
    int const exponent = static_cast<int>(i >> 10);
    double const want = exponent == 0 ? std::ldexp(i, -24) : std::ldexp((i & 0x3ffU) | 0x400U, exponent - 25);
    ASSERT_EQ(static_cast<double>(static_cast<float>(h)), want) << i;
  }
}

TEST(half, rounds_to_nearest_even_around_every_half_and_every_tie) {
  for (std::uint32_t i = 0; i < 0x7c00; ++i) {
    half low, high;
    low.bits = static_cast<std::uint16_t>(i);
    high.bits = static_cast<std::uint16_t>(i + 1);
    float const next = i == 0x7bff ? 65536.0F : static_cast<float>(high);
    around(static_cast<float>(low), [](float x) { expect_rounds<half>(x, as_half(x)); });
    around((static_cast<float>(low) + next) / 2, [](float x) { expect_rounds<half>(x, as_half(x)); });
  }
}

TEST(half, and_bfloat16_round_floats_of_all_kinds) {
  for (std::uint64_t bits = 0; bits <= 0xffffffffU; bits += 4099) {
    auto const x = bits_as<float>(static_cast<std::uint32_t>(bits));
    expect_rounds<half>(x, as_half(x));
    expect_rounds<bfloat16>(x, as_bfloat16(x));
  }
}

TEST(half, at_its_limits) {
  EXPECT_EQ(half(65504.0F).bits, 0x7bff);
  EXPECT_EQ(half(65519.996F).bits, 0x7bff);
  EXPECT_EQ(half(65520.0F).bits, 0x7c00);  // a tie, and infinity is the even one
  EXPECT_EQ(half(-inf).bits, 0xfc00);
  EXPECT_EQ(half(0x1p-24F).bits, 1);
  EXPECT_EQ(half(0x1p-25F).bits, 0);  // a tie
  EXPECT_EQ(half(0x1.000002p-25F).bits, 1);
  EXPECT_EQ(half(-0.0F).bits, 0x8000);
  EXPECT_EQ(half(0x1.ff8p-15F).bits, 0x03ff);  // the largest subnormal
  EXPECT_EQ(half(std::numeric_limits<float>::denorm_min()).bits, 0);
}

TEST(bfloat16, of_every_pattern_comes_back_from_float) {
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    bfloat16 b;
    b.bits = static_cast<std::uint16_t>(i);
    bool const nan = (i & 0x7fffU) > 0x7f80U;
    ASSERT_EQ(bfloat16(static_cast<float>(b)).bits, nan ? i | 0x40U : i);
    ASSERT_EQ(bits_of(static_cast<float>(b)), i << 16);
  }
}

TEST(bfloat16, rounds_to_nearest_even_around_every_value_and_every_tie) {
  for (std::uint32_t i = 0; i < 0x7f80; ++i) {
    for (std::uint32_t const rest : {0x0000U, 0x0001U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
      for (std::uint32_t const sign : {0U, 0x80000000U}) {
        auto const x = bits_as<float>(sign | i << 16 | rest);
        expect_rounds<bfloat16>(x, as_bfloat16(x));
      }
    }
  }
}

TEST(bfloat16, at_its_limits) {
  EXPECT_EQ(bfloat16(std::numeric_limits<float>::max()).bits, 0x7f80);  // rounds to infinity
  EXPECT_EQ(bfloat16(-inf).bits, 0xff80);
  EXPECT_EQ(bfloat16(bits_as<float>(0x7f800001U)).bits, 0x7fc0);  // a NaN whose payload is cut off stays one
  EXPECT_EQ(bfloat16(-0.0F).bits, 0x8000);
}

}  // namespace
