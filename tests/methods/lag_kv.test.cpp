// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/lag_kv.hpp>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include <support/method_laws.hpp>
#include <support/reference.hpp>

namespace tests {

template <>
struct method_case<tightkv::lag_kv> : method_facts<tightkv::lag_kv> {
  static constexpr int partition = 6;

  static void set_fraction(tightkv::lag_kv& m, double keep) { m.keep = {keep}; }
  static tightkv::protected_tokens protects(tightkv::lag_kv const& m, int tokens) {
    if (tokens < m.sink + 2 * m.lag) return {.recent = tokens};
    return {.sink = m.sink, .recent = m.lag + (tokens - m.sink) % m.lag};
  }
  static tightkv::protected_tokens protects_in_stream(tightkv::lag_kv const& m, int tokens) {
    return {.sink = std::min(m.sink, tokens), .recent = std::min(m.lag, tokens)};
  }
  static int kept(tightkv::lag_kv const& m, double keep, int tokens) {
    if (tokens < m.sink + 2 * m.lag) return tokens;
    int const quota = static_cast<int>(keep * static_cast<double>(m.lag));
    return m.sink + quota * ((tokens - m.sink) / m.lag - 1) + m.lag + (tokens - m.sink) % m.lag;
  }
};

namespace lag_kv_test {

using tightkv::lag_kv;

[[maybe_unused]] bool const laws = obeys_method_laws<lag_kv>("lag_kv");

// The sink, two tokens to judge, the two that they are judged by, and a remainder.
auto const six_tokens =
    layer_of(rows_of(2, {9, 9, 1, 3, 2, 2, 0, 0, 4, 4, 9, 9}), rows_of(2, {9, 9, 0, 0, 2, 0, 0, 0, 1, 2, 9, 9}));

TEST(lag_kv, keeps_the_token_of_the_worked_example) {
  engine_memory cache(six_tokens);
  lag_kv::state state;
  auto const o = compress(lag_kv{.lag = 2, .sink = 1}, cache, state);
  expect_kept(o, {0, 2, 3, 4, 5});
  EXPECT_NEAR(o.score(0, 1), 0.783049F, 1e-6F);
  EXPECT_NEAR(o.score(0, 2), 1.216951F, 1e-6F);
  EXPECT_EQ(state.first[0], 2);
}

TEST(lag_kv, decides_by_keys_alone_when_values_weigh_nothing) {
  auto content = six_tokens;
  for (float& x : content.values.data) x = std::numeric_limits<float>::quiet_NaN();
  expect_kept(decide(lag_kv{.lag = 2, .sink = 1, .value_weight = 0}, content), {0, 1, 3, 4, 5});
}

TEST(lag_kv, ends_with_the_length_of_the_paper) {
  struct row {
    int tokens, lag;
    double keep;
    int length;
  };
  for (auto const& [tokens, lag, keep, length] :
       {row{271, 128, 0.5, 271}, {272, 128, 0.5, 208}, {2000, 128, 0.5, 1104}, {4096, 1024, 0.25, 2560}}) {
    auto const content = random_layer({.kv_heads = 1, .tokens = tokens, .head_dim = 2});
    EXPECT_EQ(decide(lag_kv{.keep = {keep}, .lag = lag, .sink = 16}, content).plan.after(0), length) << tokens;
  }
}

TEST(lag_kv, keeps_the_same_rows_in_one_go_token_by_token_and_in_any_chunks) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    std::mt19937 random(seed);
    lag_kv const method{.keep = {0.1 * (1 + static_cast<int>(random() % 9))},
                        .lag = 2 + static_cast<int>(random() % 12),
                        .sink = static_cast<int>(random() % 8),
                        .value_weight = seed % 3 == 0 ? 0.0F : 1.0F};
    auto const content = random_layer({.kv_heads = 2, .tokens = 150, .head_dim = 6, .seed = seed});
    engine_memory whole(content);
    lag_kv::state of_whole;
    compress(method, whole, of_whole);
    int const largest = seed == 1 ? 1 : 1 + static_cast<int>(random() % 60);
    engine_memory cache(content, {}, 0);
    lag_kv::state state;
    while (cache.seen() < 150) {
      cache.append(std::min(150 - cache.seen(), 1 + static_cast<int>(random() % static_cast<unsigned>(largest))));
      compress(method, cache, state);
      EXPECT_LT(cache.tokens() - state.first[0], 2 * method.lag) << "what is due was left";
    }
    EXPECT_EQ(state.first, of_whole.first) << "seed " << seed;
    for (int h = 0; h < 2; ++h) expect_tokens(cache.positions(h), whole.positions(h));
  }
}

TEST(lag_kv, agrees_with_the_formula) {
  auto const content = random_layer({.kv_heads = 3, .tokens = 16 + 5 * 32 + 7, .head_dim = 80});
  auto const o = decide(lag_kv{.keep = {0.25}, .lag = 32, .value_weight = 0.5F}, content);
  for (int h = 0; h < 3; ++h) {
    auto const expected = reference::lag_scores(content, h, 16, 32, 0.5);
    for (int begin = 16; begin < 144; begin += 32) expect_best(o, h, expected, {begin, begin + 32}, 2e-6);
    EXPECT_TRUE(std::isnan(o.score(h, 15)));
    EXPECT_TRUE(std::isnan(o.score(h, 144)));
  }
}

lag_kv const small{.lag = 8, .sink = 3};
auto const random_tokens = random_layer({.kv_heads = 2, .tokens = 40, .head_dim = 16});

TEST(lag_kv, does_not_see_a_stretch_or_a_shift_of_a_channel_or_their_order) {
  auto const expected = decide(small, random_tokens);
  auto changed = random_tokens;
  for (auto [to, from] : {std::pair{&changed.keys, &random_tokens.keys}, {&changed.values, &random_tokens.values}}) {
    for (int h = 0; h < 2; ++h) {
      for (int t = 0; t < 40; ++t) {
        // Stretches by powers of two are exact.
        for (int d = 0; d < 16; ++d) (*to)(h, t, d) = std::ldexp((*from)(h, t, d), d % 5 - 2);
      }
    }
  }
  EXPECT_EQ(decide(small, changed), expected);
  for (float& x : changed.keys.data) x = -x;  // 1 - x instead of x: the same spread
  EXPECT_EQ(decide(small, changed).plan, expected.plan);
  for (int h = 0; h < 2; ++h) {
    for (int t = 0; t < 40; ++t) std::reverse(&changed.keys(h, t, 0), &changed.keys(h, t, 0) + 16);
  }
  EXPECT_EQ(decide(small, changed).plan, expected.plan);
}

TEST(lag_kv, sees_a_single_channel_turned_over) {
  auto content = six_tokens;
  for (int t = 0; t < 6; ++t) content.keys(0, t, 0) = -content.keys(0, t, 0);
  for (float& x : content.values.data) x = 0;
  auto const o = decide(lag_kv{.lag = 2, .sink = 1, .value_weight = 0}, content);
  EXPECT_FLOAT_EQ(o.score(0, 1), 0.5F);
  EXPECT_FLOAT_EQ(o.score(0, 2), 0.5F);
}

TEST(lag_kv, does_not_look_at_sinks_and_remainder) {
  auto const expected = decide(small, random_tokens);  // judges 3 to 26 by 11 to 34
  auto poisoned = random_tokens;
  for (int h = 0; h < 2; ++h) {
    for (int t : {0, 1, 2, 35, 36, 37, 38, 39}) {
      poisoned.keys(h, t, 0) = std::numeric_limits<float>::quiet_NaN();
      poisoned.values(h, t, 0) = std::numeric_limits<float>::infinity();
    }
  }
  EXPECT_EQ(decide(small, poisoned), expected);
}

TEST(lag_kv, leaves_out_channels_without_a_range) {
  auto const expected = decide(small, random_layer({.kv_heads = 1, .tokens = 40, .head_dim = 16}));
  auto with_constant = random_layer({.kv_heads = 1, .tokens = 40, .head_dim = 16});
  tensor wider{1, 40, 17};
  for (int t = 0; t < 40; ++t) {
    for (int d = 0; d < 16; ++d) wider(0, t, d) = with_constant.keys(0, t, d);
    wider(0, t, 16) = 3.0F;
  }
  tensor values{1, 40, 17};
  for (int t = 0; t < 40; ++t) {
    for (int d = 0; d < 16; ++d) values(0, t, d) = with_constant.values(0, t, d);
  }
  EXPECT_EQ(decide(small, layer_of(wider, values)), expected);
  auto const flat = layer_of(tensor{1, 40, 4}, tensor{1, 40, 4});  // no channel has a range: the first stay
  expect_kept(decide(lag_kv{.lag = 8, .sink = 3}, flat), [] {
    std::vector<int> stay{0, 1, 2};
    for (int begin = 3; begin < 27; begin += 8) stay.insert(stay.end(), {begin, begin + 1, begin + 2, begin + 3});
    for (int t = 27; t < 40; ++t) stay.push_back(t);
    return stay;
  }());
}

TEST(lag_kv, keeps_sinks_and_tail_alone_when_a_partition_keeps_nothing) {
  auto const o = decide(lag_kv{.keep = {0.1}, .lag = 8, .sink = 3}, random_tokens);
  std::vector<int> stay{0, 1, 2};
  for (int t = 27; t < 40; ++t) stay.push_back(t);
  expect_kept(o, stay);
}

TEST(lag_kv, refuses_what_makes_no_sense) {
  engine_memory cache(random_tokens);
  EXPECT_THROW(decide(lag_kv{.lag = 1}, cache), tightkv::bad_argument);
  EXPECT_THROW(decide(lag_kv{.sink = -1}, cache), tightkv::bad_argument);
  EXPECT_THROW(decide(lag_kv{.value_weight = std::nanf("")}, cache), tightkv::bad_argument);
}

}  // namespace lag_kv_test
}  // namespace tests
