// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/tova.hpp>

#include <support/method_laws.hpp>
#include <support/reference.hpp>

namespace tests {

template <>
struct method_case<tightkv::tova> : method_facts<tightkv::tova> {
  static constexpr bool heads_are_independent = false;
  static tightkv::protected_tokens protects(tightkv::tova const&, int) { return {.recent = 1}; }
};

namespace tova_test {

using tightkv::keep_tokens;
using tightkv::tova;

[[maybe_unused]] bool const laws = obeys_method_laws<tova>("tova");

TEST(tova, keeps_the_same_tokens_in_all_heads_of_a_layer) {
  auto const content = random_layer({.kv_heads = 4, .group = 3});
  auto const o = decide(tova{}, content);
  for (int h = 1; h < 4; ++h) expect_tokens(kept(o, h), kept(o, 0));
}

TEST(tova, agrees_with_the_formula) {
  auto const content = random_layer({.kv_heads = 3, .group = 7, .tokens = 100, .head_dim = 80});
  auto const o = decide(tova{.budget = keep_tokens{40}}, content);
  auto mean = reference::mass(content, 0, 21, 99);  // the last query of all heads
  for (double& x : mean) x /= 21;
  for (int h = 0; h < 3; ++h) expect_best(o, h, mean, {0, 99}, 1e-6);
}

TEST(tova, evicts_the_least_attended_token_at_every_step) {
  auto const content = random_layer({.kv_heads = 1, .group = 2, .tokens = 30, .head_dim = 16});
  engine_memory cache(content, {}, 12);
  tova::state state;
  tova const method{.budget = keep_tokens{12}};
  while (cache.seen() < 30) {
    cache.append(1);
    auto const before = cache.positions(0);
    auto const o = compress(method, cache, state);
    int least = 0;
    for (int t = 0; t < 12; ++t) least = o.score(0, t) < o.score(0, least) ? t : least;
    auto expected = before;
    expected.erase(expected.begin() + least);
    expect_tokens(cache.positions(0), expected);
  }
}

TEST(tova, refuses_a_view_without_the_last_query) {
  engine_memory cache(random_layer({}), {}, 20);
  cache.append(0);  // nothing new: no query
  EXPECT_THROW(decide(tova{}, cache), tightkv::bad_argument);
}

}  // namespace tova_test
}  // namespace tests
