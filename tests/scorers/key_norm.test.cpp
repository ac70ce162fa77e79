// SPDX-License-Identifier: Apache-2.0
#include <tightkv/scorers/key_norm.hpp>

#include <support/scorer_laws.hpp>

namespace tests {

template <>
struct scorer_case<tightkv::key_norm> : scorer_facts<tightkv::key_norm> {
  static constexpr bool rows_are_independent = true;
};

namespace key_norm_test {

[[maybe_unused]] bool const laws = obeys_scorer_laws<tightkv::key_norm>("key_norm");

TEST(key_norm, is_minus_the_euclidean_length) {
  engine_memory cache(layer_of(rows_of(2, {3, 4, /**/ 0, 0, /**/ 5, 12})));  // lengths 5, 0, 13
  expect_scores(scores_of(tightkv::key_norm{}, cache.float_view()), {{-5, 0, -13}});
}

TEST(key_norm, does_not_overflow_where_halves_would) {
  std::vector<tightkv::half> const keys(8, tightkv::half(60000.0F));
  tightkv::kv_view const view(tightkv::hnd(keys.data(), {.heads = 1, .tokens = 2, .head_dim = 4}));
  expect_scores(scores_of(tightkv::key_norm{}, view), {{-120000, -120000}}, 64.0F);  // 60000 is 59968 or 60000 in half
}

}  // namespace key_norm_test
}  // namespace tests
