// SPDX-License-Identifier: Apache-2.0
/// Arithmetic whose every rounding is specified, so that all kernels, on all devices, give the same bits.
///
/// A sum over a row runs in 16 lanes, element i into lane i % 16, and the lanes are folded by halves (8, 4, 2, 1).
/// Every multiply-add is an explicit `fma`, so nothing is left for a compiler to contract. The exponential is a
/// polynomial.
#pragma once

#include <cmath>
#include <cstdint>

#include <tightkv/core/config.hpp>
#include <tightkv/core/half.hpp>

namespace tightkv::detail {

TIGHTKV_HD inline float fma(float a, float b, float c) noexcept { return ::fmaf(a, b, c); }

/// Sixteen running sums.
struct lane_sum {
  static constexpr int lanes = 16;
  float lane[lanes] = {};

  TIGHTKV_HD void add(int i, float x) noexcept { lane[i % lanes] += x; }
  TIGHTKV_HD void add_product(int i, float a, float b) noexcept { lane[i % lanes] = fma(a, b, lane[i % lanes]); }
  TIGHTKV_HD float total() noexcept {
    for (int half_width = lanes / 2; half_width > 0; half_width /= 2) {
      for (int i = 0; i < half_width; ++i) lane[i] += lane[i + half_width];
    }
    return lane[0];
  }
};

template <class Row>
TIGHTKV_HD float sum_of_squares(Row const& r) noexcept {
  lane_sum sum;
  for (int d = 0; d < r.size; ++d) {
    auto const x = static_cast<float>(r[d]);
    sum.add_product(d, x, x);
  }
  return sum.total();
}

template <class Row>
TIGHTKV_HD float dot(Row const& a, float const* b) noexcept {
  lane_sum sum;
  for (int d = 0; d < a.size; ++d) sum.add_product(d, static_cast<float>(a[d]), b[d]);
  return sum.total();
}

TIGHTKV_HD inline bool is_finite(float x) noexcept { return (bits_as<std::uint32_t>(x) & 0x7f800000U) != 0x7f800000U; }

/// A row holding a value that is not finite takes no part: it scores NaN, and no statistic of other rows sees it.
template <class Row>
TIGHTKV_HD bool all_finite(Row const& r) noexcept {
  for (int d = 0; d < r.size; ++d) {
    if (!is_finite(static_cast<float>(r[d]))) return false;
  }
  return true;
}

/// e^x to 2 ulp; 0 below -87, as a normal number allows no less. For x <= 88.
TIGHTKV_HD inline float exp(float x) noexcept {
  // The comparison is written so that a NaN falls through and comes out as NaN.
  if (x < -87.0F) return 0.0F;
  float const shifted = fma(x, 1.44269504F, 12582912.0F);  // adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits
  float const n = shifted - 12582912.0F;
  float const r = fma(n, 2.12194440e-4F, fma(n, -0.693359375F, x));  // ln 2 in two parts
  float p = 1.9875691500e-4F;
  p = fma(p, r, 1.3981999507e-3F);
  p = fma(p, r, 8.3334519073e-3F);
  p = fma(p, r, 4.1665795894e-2F);
  p = fma(p, r, 1.6666665459e-1F);
  p = fma(p, r, 5.0000001201e-1F);
  p = fma(p, fma(r, r, 0.0F), r) + 1.0F;
  auto const exponent = (bits_as<std::uint32_t>(shifted) - 0x4b400000U) << 23;
  return bits_as<float>(bits_as<std::uint32_t>(p) + exponent);
}

/// Keys for selection: larger is better, no two alike. Scores in order, NaN last, -0 like +0, then the earlier token.
TIGHTKV_HD inline std::uint64_t selection_key(float score, int token) noexcept {
  std::uint32_t ordered = 0;  // NaN
  if (score == score) {
    auto const bits = bits_as<std::uint32_t>(score + 0.0F);
    ordered = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  }
  return (static_cast<std::uint64_t>(ordered) << 32) | (0xffffffffU - static_cast<std::uint32_t>(token));
}

TIGHTKV_HD inline int token_of(std::uint64_t key) noexcept {
  return static_cast<int>(0xffffffffU - static_cast<std::uint32_t>(key));
}

}  // namespace tightkv::detail
