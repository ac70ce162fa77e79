// SPDX-License-Identifier: Apache-2.0
/// The scorers that look at attention: `last_query_attention`, `window_votes` and `attention_history`.
#include <cmath>

#include <tightkv/scorers/attention_history.hpp>
#include <tightkv/scorers/last_query_attention.hpp>
#include <tightkv/scorers/window_votes.hpp>

#include <support/scorer_laws.hpp>

namespace tests {

/// The history of a cache that is seen for the first time.
struct fresh_history {
  template <tightkv::executor E, tightkv::view_with_queries V>
  void score(E const& ex, V const& view, tightkv::scores_view<E> out) const {
    tightkv::attention_history history;
    history.observe(ex, view);
    history.score(ex, view, out);
  }
};

template <>
struct scorer_case<tightkv::last_query_attention> : scorer_facts<tightkv::last_query_attention> {
  static constexpr bool heads_are_independent = false;
};

namespace attention_test {

[[maybe_unused]] bool const laws_of_last_query_attention =
    obeys_scorer_laws<tightkv::last_query_attention>("last_query_attention");
[[maybe_unused]] bool const laws_of_window_votes = obeys_scorer_laws<tightkv::window_votes>("window_votes");
[[maybe_unused]] bool const laws_of_attention_history = obeys_scorer_laws<fresh_history>("attention_history");

/// Two KV heads of four tokens and four channels, key t along channel t; the last query of head h attends as p[h] says.
layer attended(std::vector<std::vector<float>> const& p) {
  layer l{tensor{2, 4, 4}, tensor{2, 4, 4}, tensor{2, 4, 4}};
  for (int h = 0; h < 2; ++h) {
    for (int t = 0; t < 4; ++t) {
      l.keys(h, t, t) = 1;
      l.queries(h, 3, t) = 2 * std::log(p[static_cast<std::size_t>(h)][static_cast<std::size_t>(t)]);
    }
  }
  return l;
}
auto const example = attended({{.1F, .2F, .3F, .4F}, {.5F, .2F, .2F, .1F}});

TEST(last_query_attention, is_the_mean_over_all_heads_of_the_layer) {
  engine_memory cache(example);
  expect_scores(scores_of(tightkv::last_query_attention{}, cache.float_view()),
                {{.3F, .2F, .25F, .25F}, {.3F, .2F, .25F, .25F}}, 1e-6F);
}

TEST(window_votes, pools_what_stands_before_the_window) {
  engine_memory cache(example);
  auto const scores = scores_of(tightkv::window_votes{.window = 1, .kernel = 3}, cache.float_view());
  float const expected[2][3] = {{.1F, .2F, .5F / 3}, {.7F / 3, .3F, .4F / 3}};
  for (std::size_t h = 0; h < 2; ++h) {
    for (std::size_t t = 0; t < 3; ++t) EXPECT_NEAR(scores[h][t], expected[h][t], 1e-6F);
  }
}

TEST(attention_history, sums_over_queries) {
  // Earlier queries are zero: token t's spreads evenly over t + 1 tokens.
  engine_memory cache(example);
  expect_scores(scores_of(fresh_history{}, cache.float_view()),
                {{1.933333F, 1.033333F, .633333F, .4F}, {2.333333F, 1.033333F, .533333F, .1F}}, 1e-6F);
}

}  // namespace attention_test
}  // namespace tests
