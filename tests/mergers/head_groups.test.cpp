// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mergers/sample.hpp>
#include <tightkv/mergers/head_groups.hpp>

namespace {

using namespace tests;
using ::testing::ElementsAre;
using together = std::vector<int>;

TEST(head_groups, are_neighbours_or_single_heads) {
  EXPECT_THAT(tightkv::adjacent_groups(6, 2), ElementsAre(together{0, 1, 2}, together{3, 4, 5}));
  EXPECT_THAT(tightkv::adjacent_groups(3, 1), ElementsAre(together{0, 1, 2}));
  EXPECT_THAT(tightkv::adjacent_groups(2, 2), ElementsAre(together{0}, together{1}));
  EXPECT_THROW(tightkv::adjacent_groups(6, 4), tightkv::bad_argument);
  EXPECT_THROW(tightkv::adjacent_groups(6, 0), tightkv::bad_argument);
  EXPECT_THROW(tightkv::adjacent_groups(3, 6), tightkv::bad_argument);
}

TEST(head_groups, of_similar_heads_find_copies_whatever_their_basis_and_scale) {
  // Heads 0 and 3 are the same 4 channels, and so are 1 and 4, and 2 and 5; copies are mixed by a rotation and scaled.
  numbers rows(200, 24);
  auto const own = related_rows(200, 12, 3);
  for (int t = 0; t < 200; ++t) {
    for (int c = 0; c < 12; ++c) {
      rows(t, c) = own(t, c);
      int const partner = c % 2 == 0 ? c + 1 : c - 1;
      rows(t, 12 + c) = 3 * (0.6F * own(t, c) + (c % 2 == 0 ? 0.8F : -0.8F) * own(t, partner));
    }
  }
  EXPECT_THAT(tightkv::similar_groups(gram_of(rows), 6, 3),
              ElementsAre(together{0, 3}, together{1, 4}, together{2, 5}));
}

TEST(head_groups, of_heads_that_are_all_alike_or_empty_are_neighbours) {
  EXPECT_THAT(tightkv::similar_groups(gram_of(numbers(5, 8)), 4, 2), ElementsAre(together{0, 1}, together{2, 3}));
}

TEST(head_groups, of_similar_heads_refuse_statistics_of_other_heads) {
  EXPECT_THROW(tightkv::similar_groups(gram_of(numbers(5, 8)), 3, 1), tightkv::bad_argument);
  EXPECT_THROW(tightkv::similar_groups(gram_of(numbers(5, 8)), 4, 3), tightkv::bad_argument);
}

TEST(head_groups, take_their_query_heads_along) {
  tightkv::attention_shape const shape{.query_heads = 8, .kv_heads = 4, .key_dim = 2, .value_dim = 2};
  EXPECT_THAT(tightkv::query_head_order(shape, {{0, 3}, {1, 2}}), ElementsAre(0, 1, 6, 7, 2, 3, 4, 5));
  EXPECT_THROW(tightkv::query_head_order(shape, {{0, 3}, {1, 1}}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::query_head_order({.query_heads = 7, .kv_heads = 4, .key_dim = 2, .value_dim = 2}, {}),
               tightkv::bad_argument);
}

}  // namespace
