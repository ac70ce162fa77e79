// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/h2o.hpp>

#include <cmath>

#include <support/method_laws.hpp>
#include <support/reference.hpp>

namespace tests {

template <>
struct method_case<tightkv::h2o> : method_facts<tightkv::h2o> {
  static tightkv::h2o make() { return {.recent = 3}; }
};

namespace h2o_test {

using tightkv::attention_average;
using tightkv::h2o;
using tightkv::keep_tokens;

[[maybe_unused]] bool const laws = obeys_method_laws<h2o>("h2o");

/// Five tokens in 5 channels, key t along channel t. Each query attends to the tokens it sees as it is told.
layer attended(std::vector<std::vector<float>> const& p) {
  auto l = layer_of(tensor{1, 5, 5}, {}, tensor{1, 5, 5});
  for (int t = 0; t < 5; ++t) {
    l.keys(0, t, t) = 1;
    for (int j = 0; j < 5; ++j) {
      l.queries(0, t, j) = std::log(p[static_cast<std::size_t>(t)][static_cast<std::size_t>(j)]) * std::sqrt(5.0F);
    }
  }
  return l;
}
/// Equal attention for three tokens; then .2 .5 .3 on tokens 0, 2, 3, and .1 .1 .8 on tokens 0, 3, 4.
auto const story =
    attended({{1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}, {.2F, 1, .5F, .3F, 1}, {.1F, 1, 1, .1F, .8F}});

void expect_sums(h2o::state const& state, engine_memory& cache, std::vector<float> const& expected) {
  tightkv::matrix<float> scores(1, cache.tokens());
  state.history.score(any_cpu{}, cache.float_view(), scores.view());
  ASSERT_EQ(cache.tokens(), static_cast<int>(expected.size()));
  for (int t = 0; t < cache.tokens(); ++t) EXPECT_NEAR(scores(0, t), expected[static_cast<std::size_t>(t)], 1e-5F) << t;
}

TEST(h2o, evicts_step_by_step_as_in_the_worked_example) {
  h2o const method{.budget = keep_tokens{2}, .recent = 1};
  engine_memory cache(story, {}, 3);
  h2o::state state;
  auto const first = compress(method, cache, state);
  EXPECT_NEAR(first.score(0, 0), 1.833333F, 1e-6F);
  EXPECT_NEAR(first.score(0, 1), 0.833333F, 1e-6F);
  expect_tokens(cache.positions(0), {0, 2});
  expect_sums(state, cache, {1.833333F, .333333F});
  cache.append(1);
  compress(method, cache, state);
  expect_tokens(cache.positions(0), {0, 3});
  expect_sums(state, cache, {2.033333F, .3F});
  cache.append(1);
  compress(method, cache, state);
  expect_tokens(cache.positions(0), {0, 4});
  expect_sums(state, cache, {2.133333F, .8F});
}

TEST(h2o, divides_by_the_queries_that_saw_the_token_when_asked) {
  engine_memory cache(story, {}, 3);
  h2o::state state;
  h2o const method{.budget = keep_tokens{3}, .average = attention_average::per_visible_query};
  compress(method, cache, state);
  expect_sums(state, cache, {.611111F, .416667F, .333333F});
  cache.append(1);  // evicts nothing more than it must; token 0 was then seen by four queries
  compress(h2o{.budget = keep_tokens{4}, .average = attention_average::per_visible_query}, cache, state);
  float const at_three[] = {.2F / 2, 1.0F / 2, .5F / 2, .3F / 2};
  expect_sums(state, cache,
              {(1.833333F + at_three[0]) / 4, (.833333F + at_three[1]) / 3, (.333333F + at_three[2]) / 2, at_three[3]});
}

TEST(h2o, gives_out_one_for_every_query) {
  auto const content = random_layer({.kv_heads = 2, .group = 3, .tokens = 70, .head_dim = 80});
  engine_memory cache(content);
  tightkv::attention_history history;
  history.observe(any_cpu{}, cache.float_view());
  tightkv::matrix<float> scores(2, 70);
  history.score(any_cpu{}, cache.float_view(), scores.view());
  for (int h = 0; h < 2; ++h) {
    auto const row = scores.row(h);
    EXPECT_NEAR(std::accumulate(row.begin(), row.end(), 0.0), 3 * 70, 1e-3);
    auto const expected = reference::mass(content, 3 * h, 3, 0);
    for (std::size_t t = 0; t < 70; ++t) EXPECT_NEAR(static_cast<double>(row[t]), expected[t], 1e-5);
  }
}

TEST(h2o, sums_the_same_from_a_chunked_prompt) {
  auto const content = random_layer({.kv_heads = 2, .group = 3, .tokens = 70, .head_dim = 16});
  tightkv::attention_history at_once;
  tightkv::attention_history in_chunks;
  engine_memory whole(content);
  at_once.observe(any_cpu{}, whole.float_view());
  engine_memory cache(content, {}, 0);
  for (int const chunk : {1, 30, 0, 7, 32}) {
    cache.append(chunk, 5);  // more queries than are new: no harm
    in_chunks.observe(any_cpu{}, cache.float_view());
    in_chunks.observe(any_cpu{}, cache.float_view());  // nothing is new
  }
  tightkv::matrix<float> a(2, 70);
  tightkv::matrix<float> b(2, 70);
  at_once.score(any_cpu{}, whole.float_view(), a.view());
  in_chunks.score(any_cpu{}, cache.float_view(), b.view());
  for (int h = 0; h < 2; ++h) {
    for (int t = 0; t < 70; ++t) EXPECT_NEAR(a(h, t), b(h, t), 2e-5F);
  }
}

TEST(h2o, keeps_half_heavy_and_half_recent) {
  auto const content = random_layer({.kv_heads = 2, .group = 3, .tokens = 81, .head_dim = 80});
  auto const o = decide(h2o{}, content);  // 40 of 81: the last 20, and the 20 heaviest of the 61 before
  for (int h = 0; h < 2; ++h) {
    expect_best(o, h, reference::mass(content, 3 * h, 3, 0), {0, 61}, 1e-5);
    EXPECT_TRUE(std::isnan(o.score(h, 61)));
  }
}

TEST(h2o, is_a_sliding_window_without_heavy_hitters_and_all_heavy_without_recent) {
  auto const content = random_layer({.kv_heads = 1, .tokens = 20, .head_dim = 16});
  expect_kept(decide(h2o{.budget = keep_tokens{4}, .recent = 4}, content), {16, 17, 18, 19});
  auto const heavy = decide(h2o{.budget = keep_tokens{4}, .recent = 0}, content);
  expect_best(heavy, 0, reference::mass(content, 0, 1, 0), {0, 20}, 1e-5);
}

TEST(h2o, sees_neither_values_nor_a_shift_of_the_keys_nor_a_doubled_query_head) {
  auto content = random_layer({.kv_heads = 1, .tokens = 60, .head_dim = 16});
  auto const expected = decide(h2o{}, content);
  auto changed = content;
  for (float& x : changed.values.data) x = 7.0F;
  for (int t = 0; t < 60; ++t) changed.keys(0, t, 3) += 2.0F;  // adds a constant to each query's logits
  changed.queries = tensor{2, 60, 16};
  for (int q = 0; q < 2; ++q)
    std::copy_n(content.queries.data.begin(), 60 * 16, changed.queries.data.begin() + q * 960);
  auto const o = decide(h2o{}, changed);
  EXPECT_EQ(o.plan, expected.plan);
  for (int t = 0; t < 45; ++t) EXPECT_NEAR(o.score(0, t), 2 * expected.score(0, t), 1e-4F);
}

TEST(h2o, needs_the_query_of_every_new_token) {
  engine_memory cache(random_layer({}), {}, 30);
  cache.append(10);
  EXPECT_THROW(decide(h2o{}, cache), tightkv::bad_argument);
}

TEST(attention_history, refuses_to_score_rows_it_has_not_observed) {
  engine_memory cache(random_layer({}), {}, 30);
  tightkv::attention_history history;
  tightkv::matrix<float> scores(2, 40);
  EXPECT_THROW(history.score(any_cpu{}, cache.float_view(), scores.view()), tightkv::bad_argument);
  history.observe(any_cpu{}, cache.float_view());
  history.score(any_cpu{}, cache.float_view(), scores.view());
  cache.append(10);
  EXPECT_THROW(history.score(any_cpu{}, cache.float_view(), scores.view()), tightkv::bad_argument);
}

}  // namespace h2o_test
}  // namespace tests
