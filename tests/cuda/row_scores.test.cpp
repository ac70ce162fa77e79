// SPDX-License-Identifier: Apache-2.0
/// Scores made of rows, on the device, have the bits of those on the CPU.
#include <vector>

#include <gtest/gtest.h>

#include "device.hpp"

#include <tightkv/cuda/lag_scores.cuh>
#include <tightkv/cuda/row_norms.cuh>

namespace {

using namespace tests;

TEST(cuda_row_norms, have_the_bits_of_the_cpu) {
  expect_bits_of_the_cpu<0>(
      "row_norms", {64, 80, 96, 128, 256},
      [](auto const& ex, auto const& keys, auto const&, auto out) { tightkv::row_norms(ex, keys, -1.0F, out); });
}

TEST(cuda_lag_scores, have_the_bits_of_the_cpu) {
  expect_bits_of_the_cpu<1>("lag_scores", {80, 256},
                            [](auto const& ex, auto const& keys, auto const& values, auto out) {
                              std::vector<int> const first(4, 3);
                              tightkv::lag_scores(ex, tightkv::kv_view(keys, values), {.partitions = {first, 4}}, out);
                            });
}

}  // namespace
