// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/l2_norm.hpp>

#include <random>

#include <support/method_laws.hpp>
#include <support/reference.hpp>

namespace tests {
namespace l2_norm_test {

using tightkv::keep_ratio;
using tightkv::keep_tokens;
using tightkv::l2_norm;

[[maybe_unused]] bool const laws = obeys_method_laws<l2_norm>("l2_norm");

auto const four_keys = layer_of(rows_of(2, {3, 4, 0, 1, 1, 1, 2, 0}));  // norms 5, 1, 1.4142, 2

TEST(l2_norm, keeps_the_shortest_keys) {
  expect_kept(decide(l2_norm{.budget = keep_ratio{0.5}}, four_keys), {1, 2});
  expect_kept(decide(l2_norm{.budget = keep_ratio{0.55}}, four_keys), {1, 2});
  expect_kept(decide(l2_norm{.budget = keep_tokens{3}}, four_keys), {1, 2, 3});
  expect_kept(decide(l2_norm{.budget = keep_ratio{0.5}, .sink = 1}, four_keys), {0, 1});
  expect_kept(decide(l2_norm{.budget = keep_ratio{0.5}, .recent = 1}, four_keys), {1, 3});
}

TEST(l2_norm, keeps_the_first_of_equals) {
  auto const equal = layer_of(rows_of(2, {3, 4, -4, 3, 0, 5, 5, 0, 4, -3}));
  expect_kept(decide(l2_norm{.budget = keep_tokens{3}}, equal), {0, 1, 2});
}

TEST(l2_norm, does_not_see_a_scale_or_the_values) {
  auto content = random_layer({});
  auto const expected = decide(l2_norm{}, content).plan;
  for (float& x : content.keys.data) x *= 8.0F;
  for (float& x : content.values.data) x = 1.0F - x;
  EXPECT_EQ(decide(l2_norm{}, content).plan, expected);
}

TEST(l2_norm, agrees_with_the_formula) {
  auto const content = random_layer({.kv_heads = 3, .tokens = 200, .head_dim = 80});
  auto const o = decide(l2_norm{.budget = keep_ratio{0.3}, .sink = 4, .recent = 8}, content);
  for (int h = 0; h < 3; ++h) expect_best(o, h, reference::minus_length(content.keys, h), {4, 192}, 1e-5);
}

TEST(l2_norm, streams_to_the_same_rows_as_in_one_go) {
  auto const content = random_layer({.tokens = 120, .head_dim = 16});
  l2_norm const method{.budget = keep_tokens{30}, .sink = 2, .recent = 5};
  auto const at_once = decide(method, content);
  for (unsigned seed = 0; seed < 10; ++seed) {
    std::mt19937 random(seed);
    engine_memory cache(content, {}, 0);
    l2_norm::state state;
    while (cache.seen() < 120) {
      cache.append(std::min(120 - cache.seen(), 1 + static_cast<int>(random() % 20)));
      compress(method, cache, state);
    }
    for (int h = 0; h < 2; ++h) expect_tokens(cache.positions(h), kept(at_once, h));
  }
}

TEST(l2_norm, needs_no_values) {
  std::vector<float> keys{3, 4, 0, 1, 1, 1, 2, 0};
  tightkv::kv_view const view(tightkv::hnd(keys.data(), {.heads = 1, .tokens = 4, .head_dim = 2}));
  l2_norm::state state;
  auto const done = tightkv::compress(tightkv::cpu{}, l2_norm{}, view, state);
  EXPECT_EQ(done.plan, tightkv::plan::of({4}, {{1, 2}}));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(keys[static_cast<std::size_t>(i)], i == 0 ? 0.0F : 1.0F);
}

TEST(l2_norm, keeps_to_a_number_of_bytes_however_the_prompt_began) {
  // A token is 2 heads x (64 + 64) floats, so 20 fit.
  l2_norm const method{.budget = tightkv::keep_bytes{20 * 2 * 128 * 4 + 100}};
  engine_memory cache(random_layer({}), {}, 10);
  l2_norm::state state;
  EXPECT_FALSE(compress(method, cache, state).plan.evicts());
  cache.append(30);
  compress(method, cache, state);
  EXPECT_EQ(cache.tokens(), 20);
}

TEST(l2_norm, takes_a_fraction_of_what_is_to_come_when_told) {
  engine_memory cache(random_layer({}), {}, 10);
  l2_norm::state state;
  state.expect(40);
  EXPECT_FALSE(compress(l2_norm{}, cache, state).plan.evicts());
  cache.append(30);
  compress(l2_norm{}, cache, state);
  EXPECT_EQ(cache.tokens(), 20);
}

}  // namespace l2_norm_test
}  // namespace tests
