// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/lag_kv_global.hpp>

#include <support/method_laws.hpp>
#include <support/reference.hpp>

namespace tests {

template <>
struct method_case<tightkv::lag_kv_global> : method_facts<tightkv::lag_kv_global> {
  static tightkv::protected_tokens protects(tightkv::lag_kv_global const& m, int tokens) {
    if (tokens < m.sink + 2 * m.lag) return {.sink = m.sink};
    return {.sink = m.sink, .recent = m.lag + (tokens - m.sink) % m.lag};
  }
};

namespace lag_kv_global_test {

using tightkv::keep_tokens;
using tightkv::lag_kv_global;

[[maybe_unused]] bool const laws = obeys_method_laws<lag_kv_global>("lag_kv_global");

TEST(lag_kv_global, ranks_within_partitions_and_spends_one_budget) {
  auto const content = random_layer({.kv_heads = 2, .tokens = 4 + 5 * 16 + 3, .head_dim = 80});
  auto const o = decide(lag_kv_global{.budget = keep_tokens{53}, .lag = 16}, content);
  for (int h = 0; h < 2; ++h) {
    auto const raw = reference::lag_scores(content, h, 4, 16, 1.0);
    reference::column ranks(raw.size());
    for (int t = 4; t < 68; ++t) {
      int const begin = 4 + (t - 4) / 16 * 16;
      ranks[static_cast<std::size_t>(t)] = reference::rank(raw, t, begin, begin + 16) / 16;
    }
    expect_best(o, h, ranks, {4, 68}, 0.0);
  }
}

TEST(lag_kv_global, takes_evenly_from_the_partitions_and_the_odd_token_from_the_first) {
  auto const content = random_layer({.kv_heads = 1, .tokens = 4 + 4 * 8, .head_dim = 16});
  // 4 sinks and 8 of the tail; of 3 x 8 judged, 13 stay: 4 each, and one more in the first partition.
  auto const o = decide(lag_kv_global{.budget = keep_tokens{25}, .lag = 8}, content);
  int per_partition[3] = {};
  for (int const t : kept(o)) {
    if (t >= 4 && t < 28) ++per_partition[(t - 4) / 8];
  }
  EXPECT_EQ(per_partition[0], 5);
  EXPECT_EQ(per_partition[1], 4);
  EXPECT_EQ(per_partition[2], 4);
}

TEST(lag_kv_global, keeps_sinks_and_the_newest_of_a_cache_too_short_to_judge) {
  auto const content = random_layer({.kv_heads = 1, .tokens = 19, .head_dim = 16});
  auto const o = decide(lag_kv_global{.budget = keep_tokens{7}, .lag = 8}, content);  // 20 tokens would be judged
  expect_kept(o, {0, 1, 2, 3, 16, 17, 18});
  EXPECT_EQ(o.plan.nan_scores, 0) << "nothing was wrong with the rows";
}

TEST(lag_kv_global, never_drops_below_sinks_and_tail) {
  auto const content = random_layer({.kv_heads = 1, .tokens = 30, .head_dim = 16});
  EXPECT_EQ(decide(lag_kv_global{.budget = tightkv::keep_ratio{0.1}, .lag = 8}, content).plan.after(0), 4 + 8 + 2);
  EXPECT_THROW(decide(lag_kv_global{.budget = keep_tokens{13}, .lag = 8}, content), tightkv::bad_argument);
}

}  // namespace lag_kv_global_test
}  // namespace tests
