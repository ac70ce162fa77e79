// SPDX-License-Identifier: Apache-2.0
#include <tightkv/scorers/key_distinctness.hpp>

#include <support/scorer_laws.hpp>

namespace tests {
namespace key_distinctness_test {

using tightkv::key_distinctness;

[[maybe_unused]] bool const laws = obeys_scorer_laws<key_distinctness>("key_distinctness");

score_table scores(std::vector<float> keys) {
  engine_memory cache(layer_of(rows_of(2, std::move(keys))));
  return scores_of(key_distinctness{}, cache.float_view());
}

TEST(key_distinctness, is_minus_the_cosine_to_the_mean_of_the_unit_keys) {
  expect_scores(scores({1, 0, 1, 0, 0, 1}), {{-.894427F, -.894427F, -.447214F}}, 1e-6F);
  expect_scores(scores({8, 0, .25F, 0, 0, 3}), {{-.894427F, -.894427F, -.447214F}}, 1e-6F);
}

TEST(key_distinctness, gives_a_zero_key_and_every_key_about_a_zero_mean_the_cosine_zero) {
  expect_scores(scores({1, 0, 0, 0, 1, 0}), {{-1, 0, -1}});
  expect_scores(scores({1, 0, -2, 0}), {{0, 0}});
}

}  // namespace key_distinctness_test
}  // namespace tests
