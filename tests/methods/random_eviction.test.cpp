// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/random_eviction.hpp>

#include <random>

#include <support/method_laws.hpp>

namespace tests {

template <>
struct method_case<tightkv::random_eviction> : method_facts<tightkv::random_eviction> {
  static constexpr bool reads_rows = false;
  static constexpr bool does_not_know_head_numbers = false;  // each head draws its own numbers
};

namespace random_eviction_test {

using tightkv::keep_tokens;
using tightkv::random_eviction;

[[maybe_unused]] bool const laws = obeys_method_laws<random_eviction>("random");

TEST(random_eviction, streams_to_the_same_rows_as_in_one_go) {
  auto const content = random_layer({.tokens = 120, .head_dim = 2});
  random_eviction const method{.budget = keep_tokens{30}, .seed = 5, .sink = 2, .recent = 5};
  auto const at_once = decide(method, content);
  for (unsigned seed = 0; seed < 10; ++seed) {
    std::mt19937 random(seed);
    engine_memory cache(content, {}, 0);
    random_eviction::state state;
    while (cache.seen() < 120) {
      cache.append(std::min(120 - cache.seen(), 1 + static_cast<int>(random() % 20)));
      compress(method, cache, state);
    }
    for (int h = 0; h < 2; ++h) expect_tokens(cache.positions(h), kept(at_once, h));
  }
}

TEST(random_eviction, draws_afresh_for_every_head_and_seed) {
  auto const content = random_layer({.tokens = 200, .head_dim = 2});
  auto const one = decide(random_eviction{.seed = 1}, content);
  EXPECT_NE(kept(one, 0), kept(one, 1));
  EXPECT_NE(kept(one, 0), kept(decide(random_eviction{.seed = 2}, content), 0));
  EXPECT_EQ(one, decide(random_eviction{.seed = 1}, content));
}

TEST(random_eviction, spares_no_part_of_the_sequence) {
  auto const content = random_layer({.kv_heads = 8, .tokens = 1000, .head_dim = 2});
  auto const o = decide(random_eviction{}, content);
  int first_half = 0;
  for (int h = 0; h < 8; ++h) {
    for (int const t : kept(o, h)) first_half += t < 500 ? 1 : 0;
  }
  EXPECT_NEAR(first_half, 2000, 100);  // three standard deviations
}

}  // namespace random_eviction_test
}  // namespace tests
