// SPDX-License-Identifier: Apache-2.0
#include <tightkv/core/runs.hpp>

#include <vector>

#include <gtest/gtest.h>

namespace {

TEST(runs, are_written_from_end_to_end_and_no_further) {
  for (std::size_t n = 0; n <= 50; ++n) {
    std::vector<float> some(n + 2, -1.0F);
    std::vector<int> numbers(n + 2, -1);
    tightkv::detail::fill_run(std::span(some).subspan(1, n), 7.0F);
    tightkv::detail::number_run(std::span(numbers).subspan(1, n), 100);
    for (std::size_t i = 0; i < n + 2; ++i) {
      bool const inside = 1 <= i && i <= n;
      EXPECT_EQ(some[i], inside ? 7.0F : -1.0F) << i << " of " << n;
      EXPECT_EQ(numbers[i], inside ? 99 + static_cast<int>(i) : -1) << i << " of " << n;
    }
  }
}

}  // namespace
