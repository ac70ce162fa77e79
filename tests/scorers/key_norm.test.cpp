// SPDX-License-Identifier: Apache-2.0
#include <tightkv/scorers/key_norm.hpp>

#include <tightkv/view/layouts.hpp>

#include <support/scorer_laws.hpp>

namespace tests {

template <>
struct scorer_case<tightkv::key_norm> {
  static constexpr bool heads_are_independent = true;
  static constexpr bool rows_are_independent = true;
  static tightkv::key_norm make() { return {}; }
};
INSTANTIATE_TEST_SUITE_P(key_norm, scorer_laws, laws_for_scorer<tightkv::key_norm>());

TEST(key_norm, is_minus_the_euclidean_length) {
  std::vector<float> const keys{3, 4, /**/ 0, 0, /**/ 5, 12};  // lengths 5, 0, 13
  tightkv::kv_view const view(tightkv::hnd(keys.data(), {.heads = 1, .tokens = 3, .head_dim = 2}));
  expect_scores(scores_of(tightkv::key_norm{}, view), {{-5, 0, -13}});
}

TEST(key_norm, does_not_overflow_where_halves_would) {
  std::vector<tightkv::half> const keys(8, tightkv::half(60000.0F));
  tightkv::kv_view const view(tightkv::hnd(keys.data(), {.heads = 1, .tokens = 2, .head_dim = 4}));
  expect_scores(scores_of(tightkv::key_norm{}, view), {{-120000, -120000}});
}

}  // namespace tests
