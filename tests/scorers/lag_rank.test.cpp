// SPDX-License-Identifier: Apache-2.0
#include <tightkv/scorers/lag_rank.hpp>

#include <limits>

#include <support/scorer_laws.hpp>

namespace tests {
namespace lag_rank_test {

using tightkv::lag_rank;
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

[[maybe_unused]] bool const laws = obeys_scorer_laws<lag_rank>("lag_rank");

TEST(lag_rank, counts_the_tokens_of_the_partition_that_a_token_beats) {
  // A sink; spreads .25, .5, 0 as in lag_relative's example, then the reference, which is not judged.
  auto const keys = rows_of(3, {7, 7, 7, 1, 2, 3, 4, 0, 2, 2, 2, 2, 0, 0, 0, 4, 4, 4, 1, 1, 1});
  engine_memory cache(layer_of(keys, keys));
  expect_scores(scores_of(lag_rank{.lag = 3, .sink = 1}, cache.float_view()),
                {{nan, 1.0F / 3, 2.0F / 3, 0, nan, nan, nan}});
}

TEST(lag_rank, calls_the_earlier_of_equals_the_better) {
  engine_memory cache(layer_of(tensor{1, 8, 4}, tensor{1, 8, 4}));  // no channel has a range
  expect_scores(scores_of(lag_rank{.lag = 4, .sink = 0}, cache.float_view()),
                {{.75F, .5F, .25F, 0, nan, nan, nan, nan}});
}

TEST(lag_rank, judges_only_partitions_that_have_another_after_them) {
  lag_rank const ranks{.lag = 4, .sink = 2};
  EXPECT_EQ(ranks.judged_tokens(9), (tightkv::token_range{}));
  EXPECT_EQ(ranks.judged_tokens(10), (tightkv::token_range{2, 6}));
  EXPECT_EQ(ranks.judged_tokens(13), (tightkv::token_range{2, 6}));
  EXPECT_EQ(ranks.judged_tokens(14), (tightkv::token_range{2, 10}));
  EXPECT_EQ(ranks.judged_tokens(0), (tightkv::token_range{}));
}

}  // namespace lag_rank_test
}  // namespace tests
