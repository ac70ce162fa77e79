// SPDX-License-Identifier: Apache-2.0
/// Rows that a fast kernel of one score per row must judge as the plain one does: odd lengths, a long head, extremes.
#pragma once

#include <limits>

#include <gtest/gtest.h>

#include <support/instruction_sets.hpp>
#include <support/layouts.hpp>

namespace tests {

/// `score(executor, keys, out)` on each of them.
template <class T, class Score>
void expect_row_scores_as_plain(Score const& score) {
  auto const check = [&](rows const& r) {
    SCOPED_TRACE(testing::Message() << r.longest() << " x " << r.head_dim);
    cache<hnd_layout> keys(r);
    expect_scores_as_plain(r.heads(), r.longest(), [&](auto const& ex, auto out) { score(ex, keys.plane<T>(), out); });
  };
  for (int const head_dim : any_head_dims) {
    for (int const tokens : {1, 3, 4, 21}) check(random_rows<T>({{tokens, tokens}, head_dim}, 1));
  }
  check(random_rows<T>({{2050}, 16}, 2));
  check(rows({{5, 5}, 64}, sizeof(T)));  // zeros
  for (int const head_dim : {20, 128}) {
    auto r = random_rows<T>({{9}, head_dim}, 3);
    r.set(0, 1, head_dim - 1, element<T>(std::numeric_limits<double>::quiet_NaN()));
    r.set(0, 2, 0, element<T>(std::numeric_limits<double>::infinity()));
    r.set(0, 4, 3, element<T>(3e38));   // the square overflows; infinite as a half
    r.set(0, 5, 3, element<T>(1e-40));  // subnormal, or zero
    r.set(0, 8, head_dim - 1, element<T>(-std::numeric_limits<double>::infinity()));
    check(r);
  }
}

}  // namespace tests
