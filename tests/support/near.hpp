// SPDX-License-Identifier: Apache-2.0
/// Comparing scores with what an oracle says.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <gtest/gtest.h>

namespace tests {

/// NaN where `want` is NaN, else within `tolerance` relative to the larger of `want` and `floor`.
inline void expect_near(std::span<float const> got, std::vector<double> const& want, double tolerance,
                        double floor = 0.0) {
  ASSERT_GE(got.size(), want.size());
  for (std::size_t t = 0; t < want.size(); ++t) {
    auto const x = static_cast<double>(got[t]);
    bool const near =
        want[t] != want[t] ? x != x : std::abs(x - want[t]) <= tolerance * std::max(std::abs(want[t]), floor);
    ASSERT_TRUE(near) << "token " << t << ": " << x << " instead of " << want[t];
  }
}

inline std::vector<double> times(double factor, std::vector<double> numbers) {
  for (double& x : numbers) x *= factor;
  return numbers;
}

}  // namespace tests
