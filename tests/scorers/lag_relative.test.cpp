// SPDX-License-Identifier: Apache-2.0
#include <tightkv/scorers/lag_relative.hpp>

#include <limits>

#include <support/scorer_laws.hpp>

namespace tests {
namespace lag_relative_test {

using tightkv::lag_relative;
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

[[maybe_unused]] bool const laws = obeys_scorer_laws<lag_relative>("lag_relative");

TEST(lag_relative, is_the_softmax_of_spreads_normalised_by_the_next_partition) {
  // Spreads .25, .5, 0 by the ranges [0, 4] of the three tokens after.
  engine_memory cache(layer_of(rows_of(3, {1, 2, 3, 4, 0, 2, 2, 2, 2, 0, 0, 0, 4, 4, 4, 1, 1, 1})));
  expect_scores(scores_of(lag_relative{.lag = 3, .sink = 0, .value_weight = 0}, cache.float_view()),
                {{.326496F, .419229F, .254275F, nan, nan, nan}}, 1e-6F);
}

TEST(lag_relative, adds_the_values_by_their_weight) {
  engine_memory cache(
      layer_of(rows_of(2, {9, 9, 1, 3, 2, 2, 0, 0, 4, 4, 9, 9}), rows_of(2, {9, 9, 0, 0, 2, 0, 0, 0, 1, 2, 9, 9})));
  auto const with = [&](float weight) {
    return scores_of(lag_relative{.lag = 2, .sink = 1, .value_weight = weight}, cache.float_view());
  };
  expect_scores(with(0), {{nan, .587479F, .412521F, nan, nan, nan}}, 1e-6F);
  expect_scores(with(1), {{nan, .783049F, 1.216951F, nan, nan, nan}}, 1e-6F);
  expect_scores(with(2), {{nan, .587479F + 2 * .195570F, .412521F + 2 * .804430F, nan, nan, nan}}, 2e-6F);
}

TEST(lag_relative, needs_values_only_if_they_weigh_something) {
  std::vector<float> const keys{1, 2, 3, 4, 0, 2, 2, 2, 2, 0, 0, 0, 4, 4, 4, 1, 1, 1};
  tightkv::kv_view const view(tightkv::hnd(keys.data(), {.heads = 1, .tokens = 6, .head_dim = 3}));
  expect_scores(scores_of(lag_relative{.lag = 3, .sink = 0, .value_weight = 0}, view),
                {{.326496F, .419229F, .254275F, nan, nan, nan}}, 1e-6F);
  EXPECT_THROW(scores_of(lag_relative{.lag = 3, .sink = 0}, view), tightkv::bad_argument);
}

}  // namespace lag_relative_test
}  // namespace tests
