// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/key_diff.hpp>

#include <support/method_laws.hpp>
#include <support/reference.hpp>

namespace tests {
namespace key_diff_test {

using tightkv::keep_tokens;
using tightkv::key_diff;

[[maybe_unused]] bool const laws = obeys_method_laws<key_diff>("key_diff");

auto const three_keys = layer_of(rows_of(2, {1, 0, 1, 0, 0, 1}));  // unit mean (2/3, 1/3)

TEST(key_diff, keeps_the_key_unlike_the_others) {
  auto const o = decide(key_diff{.budget = keep_tokens{1}}, three_keys);
  expect_kept(o, {2});
  expect_best(o, 0, {-0.894427, -0.894427, -0.447214}, {0, 3}, 1e-6);
  expect_kept(decide(key_diff{.budget = keep_tokens{2}}, three_keys), {0, 2});
}

TEST(key_diff, does_not_see_the_length_of_a_key_or_a_rotation) {
  auto content = random_layer({.tokens = 60, .head_dim = 16});
  auto const expected = decide(key_diff{}, content).plan;
  auto scaled = content;
  for (int t = 0; t < 60; ++t) {
    for (int d = 0; d < 16; ++d) scaled.keys(0, t, d) *= t % 2 == 0 ? 4.0F : 0.5F;
  }
  EXPECT_EQ(decide(key_diff{}, scaled).plan, expected);
  auto turned = content;  // a quarter turn of each pair of channels
  for (int t = 0; t < 60; ++t) {
    for (int d = 0; d < 16; d += 2) {
      turned.keys(0, t, d) = -content.keys(0, t, d + 1);
      turned.keys(0, t, d + 1) = content.keys(0, t, d);
    }
  }
  EXPECT_EQ(decide(key_diff{}, turned).plan, expected);
}

TEST(key_diff, agrees_with_the_formula) {
  auto const content = random_layer({.kv_heads = 3, .tokens = 300, .head_dim = 96});  // more than two blocks of 128
  auto const o = decide(key_diff{.budget = tightkv::keep_ratio{0.4}, .sink = 4, .recent = 8}, content);
  for (int h = 0; h < 3; ++h) expect_best(o, h, reference::minus_cosine(content.keys, h), {4, 292}, 1e-5);
}

TEST(key_diff, judges_the_kept_with_the_new_when_called_after_every_block) {
  auto const content = random_layer({.kv_heads = 1, .tokens = 64, .head_dim = 16});
  key_diff const method{.budget = keep_tokens{16}};
  engine_memory cache(content, {}, 0);
  key_diff::state state;
  std::vector<int> stay;
  for (int block = 0; block < 4; ++block) {
    cache.append(16);
    compress(method, cache, state);
    for (int t = 0; t < 16; ++t) stay.push_back(16 * block + t);
    layer now = layer_of(tensor{1, static_cast<int>(stay.size()), 16});
    for (int t = 0; t < now.tokens(); ++t) {
      for (int d = 0; d < 16; ++d) now.keys(0, t, d) = content.keys(0, stay[static_cast<std::size_t>(t)], d);
    }
    std::vector<int> next;
    for (int const t : kept(decide(method, now))) next.push_back(stay[static_cast<std::size_t>(t)]);
    stay = next;
    expect_tokens(cache.positions(0), stay);
  }
}

}  // namespace key_diff_test
}  // namespace tests
