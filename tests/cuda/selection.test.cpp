// SPDX-License-Identifier: Apache-2.0
/// The same scores give the same plan on the device as on the CPU: ties, NaN and the signs of zero included.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "device.hpp"

#include <tightkv/cuda/select_partitions.cuh>
#include <tightkv/cuda/select_top_k.cuh>
#include <tightkv/selectors/partition_top_k.hpp>
#include <tightkv/selectors/top_k.hpp>

namespace selection_test {

using namespace tests;

/// Scores of a kind: what makes a selection go wrong.
struct kind {
  char const* name;
  float (*score)(std::mt19937&);
};
constexpr kind kinds[] = {
    {"bell-shaped", [](std::mt19937& r) { return static_cast<float>(r()) / 1e9F + static_cast<float>(r()) / 1e9F; }},
    {"few values", [](std::mt19937& r) { return static_cast<float>(r() % 3); }},
    {"all equal", [](std::mt19937&) { return 0.125F; }},
    {"zeros of both signs", [](std::mt19937& r) { return r() % 2 == 0 ? 0.0F : -0.0F; }},
    {"leading bits in common", [](std::mt19937& r) { return 1.0F + static_cast<float>(r() % 1024) * 0x1p-23F; }},
    {"all bits",
     [](std::mt19937& r) {
       float x = 0;
       auto const bits = static_cast<std::uint32_t>(r());
       std::memcpy(&x, &bits, sizeof x);
       return x;
     }},
    {"many NaN", [](std::mt19937& r) { return r() % 2 == 0 ? NAN : static_cast<float>(r() % 100) - 50.0F; }},
    {"infinities", [](std::mt19937& r) { return r() % 2 == 0 ? INFINITY : -INFINITY; }},
};

tightkv::matrix<float> scores_of(kind const& k, int heads, int tokens) {
  std::mt19937 random(3);
  tightkv::matrix<float> scores(heads, tokens, 0.0F);
  for (int h = 0; h < heads; ++h) {
    for (int t = 0; t < tokens; ++t) scores.view()(h, t) = k.score(random);
  }
  return scores;
}

void expect_same_plan(tightkv::plan const& got, tightkv::plan const& want) {
  EXPECT_EQ(got, want);
  EXPECT_EQ(got.nan_scores, want.nan_scores);
}

TEST(cuda_select_top_k, makes_the_plan_of_the_cpu) {
  for (auto const& k : kinds) {
    for (int const tokens : {1, 33, 700, 5000, 9000}) {
      SCOPED_TRACE(testing::Message() << k.name << ", tokens " << tokens);
      auto const scores = scores_of(k, 5, tokens);
      std::pmr::memory_resource* const memory = std::pmr::get_default_resource();
      tightkv::candidates from(memory);
      from.add(tokens, {}, tokens / 4);
      from.add(tokens, {.sink = tokens / 9, .recent = tokens / 7}, tokens / 2);
      from.add(tokens, {.sink = 1}, 1);
      from.add(tokens, {}, tokens - tokens / 10);
      from.add(tokens - tokens / 3, {.recent = tokens / 10}, tokens - tokens / 3);
      auto const want = tightkv::top_k{}.select(plain{}, scores.view(), from);
      for_each_seed([&](unsigned seed) {
        if (tokens >= 5000 && seed > 1) return;
        tightkv::cuda const ex{};
        auto const device_scores = on_device(ex, scores);
        expect_same_plan(to_host(ex, tightkv::top_k{}.select(ex, device_scores.view(), from)), want);
        comparisons::all().add("select_top_k", k.name, "float", tokens, seed);
      });
    }
  }
}

// More tokens than are marked at a time. Of few values, the last of the equal ones that stay is not among the first of
// those.
TEST(cuda_select_top_k, makes_the_plan_of_the_cpu_for_a_long_row) {
  int const tokens = tightkv::detail::select_tuning::most_marked + 500;
  for (int const number : {0, 1}) {
    auto const& k = kinds[number];
    SCOPED_TRACE(k.name);
    auto const scores = scores_of(k, 1, tokens);
    auto const row = scores.view().row(0);
    auto const reach = std::count_if(row, row + tokens, [](float x) { return x >= 1.0F; });
    tightkv::candidates from(std::pmr::get_default_resource());
    from.add(tokens, {}, static_cast<int>(reach) - 10);
    auto const want = tightkv::top_k{}.select(plain{}, scores.view(), from);
    tightkv::cuda const ex{};
    auto const device_scores = on_device(ex, scores);
    expect_same_plan(to_host(ex, tightkv::top_k{}.select(ex, device_scores.view(), from)), want);
    comparisons::all().add("select_top_k", k.name, "float", tokens, 1);
  }
}

void expect_same_partitions(kind const& k, std::vector<int> const& lengths, std::vector<int> const& first, int lag,
                            int quota) {
  SCOPED_TRACE(testing::Message() << k.name << ", lag " << lag);
  auto const heads = static_cast<int>(lengths.size());
  tightkv::lag_partitions const partitions{first, lag};
  auto const scores = scores_of(k, heads, *std::max_element(lengths.begin(), lengths.end()));
  auto const want = tightkv::partition_top_k{quota}.select(plain{}, scores.view(), lengths, partitions);
  for_each_seed([&](unsigned seed) {
    if ((lag > 200 || heads > 4) && seed > 1) return;
    tightkv::cuda const ex{};
    auto const device_scores = on_device(ex, scores);
    auto const got = tightkv::partition_top_k{quota}.select(ex, device_scores.view(), lengths, partitions);
    expect_same_plan(to_host(ex, got), want);
    comparisons::all().add("select_partitions", k.name, "float", lag, seed);
  });
}

TEST(cuda_select_partitions, makes_the_plan_of_the_cpu) {
  struct {
    int lag, quota;
  } const cases[] = {{8, 2}, {128, 32}, {100, 0}, {64, 64}, {200, 50}, {300, 299}, {1000, 1}, {1500, 700}};
  for (auto const& k : kinds) {
    for (auto const& [lag, quota] : cases) {
      expect_same_partitions(k, {lag * 4 + 3, lag + 1, lag * 3, 0}, {3, 0, 1, 0}, lag, quota);
    }
  }
}

// With many heads, a warp takes several partitions of one.
TEST(cuda_select_partitions, makes_the_plan_of_the_cpu_for_many_heads) {
  constexpr int heads = 256;
  constexpr int of_warps =
      tightkv::detail::select_partitions_tuning::blocks / heads * tightkv::detail::select_partitions_tuning::warps;
  std::vector<int> lengths(heads, 0);
  lengths[0] = 4 * (2 * of_warps + 5);
  lengths[heads - 1] = 4 * (of_warps + 3) + 1;
  expect_same_partitions(kinds[6], lengths, std::vector<int>(heads, 0), 4, 1);
}

}  // namespace selection_test
