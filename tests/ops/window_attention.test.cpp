// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <support/near.hpp>
#include <support/oracle.hpp>
#include <tightkv/ops/window_attention.hpp>

namespace window_attention_test {

using namespace tests;
using numbers = std::vector<float>;

template <class T>
struct window_attention : ::testing::Test {};
TYPED_TEST_SUITE(window_attention, elements, element_names);

TYPED_TEST(window_attention, is_the_mean_attention_of_the_last_queries_per_query_head) {
  for (int const head_dim : head_dims) {
    for (int const group : gqa_groups) {
      auto const keys = random_rows<TypeParam>({{37, 37}, head_dim}, 8);
      auto const asked =
          random_rows<TypeParam>({std::vector<int>(static_cast<std::size_t>(2 * group), 13), head_dim}, 9);
      cache<hnd_layout> k(keys);
      cache<hnd_layout> q(asked);
      tightkv::kv_view const view(k.plane<TypeParam>(), tightkv::absent{}, q.plane<TypeParam>());
      tightkv::matrix<float> out(2 * group, 37, 5.0F);
      tightkv::window_attention(tightkv::plain_cpu{}, view, 5, out.view());
      for (int i = 0; i < 2 * group; ++i) {
        auto table = oracle::head<TypeParam>(asked, i);
        table.erase(table.begin(), table.begin() + 8);
        auto const p = oracle::attention(table, oracle::head<TypeParam>(keys, i / group));
        expect_near(out.row(i), times(1.0 / 5, oracle::sum_of(p, 37)), 2e-5, 1e-3);
      }
    }
  }
}

/// One head, one query head.
numbers attention(numbers const& keys, numbers const& queries, int window) {
  int const tokens = static_cast<int>(keys.size());
  numbers out(keys.size(), 5.0F);
  tightkv::kv_view const view(tightkv::hnd(keys.data(), {1, tokens, 1}), tightkv::absent{},
                              tightkv::hnd(queries.data(), {1, static_cast<int>(queries.size()), 1}));
  tightkv::window_attention(tightkv::plain_cpu{}, view, window, {out.data(), 1, tokens});
  return out;
}

TEST(window_attention, of_equal_logits) {
  expect_near(attention({1, 1, 1}, {0, 0}, 2), {(0.5 + 1 / 3.0) / 2, (0.5 + 1 / 3.0) / 2, 1 / 6.0}, 1e-6);
  expect_near(attention({1, 1, 1}, {0, 0}, 1), {1 / 3.0, 1 / 3.0, 1 / 3.0}, 1e-6);
}

TEST(window_attention, of_a_key_that_is_not_finite_is_nan_and_it_is_as_if_masked_for_the_others) {
  expect_near(attention({1, NAN, 1}, {0, 0}, 2), {0.75, NAN, 0.25}, 1e-6);
}

TEST(window_attention, counts_a_query_that_is_not_finite_as_zeros) {
  expect_near(attention({1, 1, 1}, {NAN, 0}, 2), {1 / 6.0, 1 / 6.0, 1 / 6.0}, 1e-6);
}

TEST(window_attention, survives_logits_that_are_huge_or_overflow) {
  expect_near(attention({1e4F, 2e4F, -1e4F}, {1e4F}, 1), {0, 1, 0}, 1e-6);
  expect_near(attention({1, 3e38F, 2}, {1e4F}, 1), {0, 0, 1}, 1e-6);  // 3e42 is no float: as if masked
}

TEST(window_attention, refuses_what_makes_no_sense) {
  EXPECT_THROW(attention({1, 1, 1}, {0, 0}, 0), tightkv::bad_argument);
  EXPECT_THROW(attention({1, 1, 1}, {0, 0}, 3), tightkv::bad_argument);
  numbers const keys(6);
  auto const rows = tightkv::hnd(keys.data(), {2, 3, 1});
  tightkv::kv_view const view(rows, tightkv::absent{}, rows);
  tightkv::matrix<float> few_rows(1, 3);
  tightkv::matrix<float> few_columns(2, 2);
  EXPECT_THROW(tightkv::window_attention(tightkv::plain_cpu{}, view, 1, few_rows.view()), tightkv::bad_argument);
  EXPECT_THROW(tightkv::window_attention(tightkv::plain_cpu{}, view, 1, few_columns.view()), tightkv::bad_argument);
  EXPECT_THROW(tightkv::window_attention(tightkv::plain_cpu{}, view, 1, {nullptr, 2, 3}), tightkv::bad_argument);
}

}  // namespace window_attention_test
