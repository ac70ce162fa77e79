// SPDX-License-Identifier: Apache-2.0
/// What is done to scores on the device gives the bits that it gives on the CPU.
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "device.hpp"

#include <tightkv/cuda.cuh>

namespace score_maps_test {

using namespace tests;

constexpr int heads = 6;
constexpr int tokens = 300;

/// Scores with ties and NaN.
tightkv::matrix<float> some_scores(unsigned seed) {
  auto const numbers = random_numbers(heads * tokens, seed);
  tightkv::matrix<float> m(heads, tokens, 0.0F);
  for (int h = 0; h < heads; ++h) {
    for (int t = 0; t < tokens; ++t) {
      auto const i = static_cast<std::size_t>(h * tokens + t);
      m.view()(h, t) = t % 37 == 5 ? NAN : static_cast<float>(std::round(numbers[i] * 16) / 16);
    }
  }
  return m;
}

std::vector<tightkv::token_range> const ranges{{0, 300}, {3, 250}, {0, 0}, {7, 8}, {100, 300}, {1, 299}};

/// `map(ex, in, out)` must give the same bits in both memories.
template <class Map>
void expect_same_map(std::string const& op, Map const& map, int rows = heads) {
  auto const in = some_scores(1);
  tightkv::matrix<float> want(rows, tokens, 0.0F);
  auto const start = some_scores(2);
  for (int h = 0; h < rows; ++h) std::copy_n(start.row(h).begin(), tokens, want.view().row(h));
  tightkv::matrix<float> const before = want;
  map(plain{}, in.view(), want.view());
  for_each_seed([&](unsigned seed) {
    tightkv::cuda const ex{};
    auto const device_in = on_device(ex, in);
    auto got = on_device(ex, before);
    map(ex, device_in.view(), got.view());
    expect_same_bits(to_host(ex, got), want);
    comparisons::all().add(op, "matrix", "float", tokens, seed);
  });
}

TEST(cuda_score_maps, have_the_bits_of_the_cpu) {
  expect_same_map("rank_tokens",
                  [](auto const& ex, auto, auto out) { tightkv::rank_tokens(ex, out, {.ranges = ranges}); });
  expect_same_map("rank_tokens in blocks", [](auto const& ex, auto, auto out) {
    tightkv::rank_tokens(ex, out, {.ranges = ranges, .block = 64, .divisor = 64.0F});
  });
  expect_same_map("larger_of", [](auto const& ex, auto in, auto out) { tightkv::larger_of(ex, in, out); });
  expect_same_map(
      "mean_of_heads", [](auto const& ex, auto in, auto out) { tightkv::mean_of_heads(ex, in, {.from = 3}, out); }, 2);
  expect_same_map("mean of a layer", [](auto const& ex, auto in, auto out) {
    tightkv::mean_of_heads(ex, in, {.from = 6, .into = 6}, out);
  });
  std::vector<int> const lengths{300, 0, 1, 2, 299, 77};
  for (int const width : {1, 5, 7}) {
    for (auto const pooling : {tightkv::pooling::average, tightkv::pooling::maximum}) {
      auto const how = pooling == tightkv::pooling::average ? " average" : " maximum";
      expect_same_map("pool_tokens " + std::to_string(width) + how, [&](auto const& ex, auto, auto out) {
        tightkv::pool_tokens(ex, out, {.lengths = lengths, .width = width, .pooling = pooling});
      });
    }
  }
  expect_same_map("mark_unjudged", [](auto const& ex, auto, auto out) { tightkv::mark_unjudged(ex, ranges, out); });
  expect_same_map("fill_tokens", [](auto const& ex, auto, auto out) { tightkv::fill_tokens(ex, ranges, 0.5F, out); });
}

}  // namespace score_maps_test
