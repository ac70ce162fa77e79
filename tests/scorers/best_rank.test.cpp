// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include <tightkv/scorers/best_rank.hpp>
#include <tightkv/scorers/key_distinctness.hpp>
#include <tightkv/scorers/key_norm.hpp>

#include <support/scorer_laws.hpp>

namespace tests {
namespace best_rank_test {

using short_or_distinct = tightkv::best_rank<tightkv::key_norm, tightkv::key_distinctness>;

[[maybe_unused]] bool const laws = obeys_scorer_laws<short_or_distinct>("best_rank");

TEST(best_rank, is_the_better_of_two_ranks_among_unprotected_tokens) {
  // Of the middle three, norms 1, 2, 3 rank 2, 1, 0; the mean direction is (4, 1), so that distinctness ranks 1, 0, 2.
  engine_memory cache(layer_of(rows_of(2, {9, 0, /**/ 1, 0, /**/ 2, 0, /**/ 0, 3, /**/ 4, 0})));
  auto const scores = scores_of(short_or_distinct{.protect = {.sink = 1, .recent = 1}}, cache.float_view());
  EXPECT_EQ(scores[0][1], 2);
  EXPECT_EQ(scores[0][2], 1);
  EXPECT_EQ(scores[0][3], 2);
}

}  // namespace best_rank_test
}  // namespace tests
