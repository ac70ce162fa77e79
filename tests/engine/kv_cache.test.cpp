// SPDX-License-Identifier: Apache-2.0
#include "kv_cache.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tightkv/core/error.hpp>
#include <tightkv/methods/compress.hpp>
#include <tightkv/methods/streaming_llm.hpp>

#include "cache_view.hpp"

namespace kv_cache_test {

using ::testing::ElementsAre;

engine::kv_cache<tightkv::half> filled() {
  engine::kv_cache<tightkv::half> cache{{.layers = 2, .kv_heads = 3, .capacity = 10, .head_dim = 4}};
  for (int layer = 0; layer < 2; ++layer) {
    for (std::ptrdiff_t i = 0; i < 3 * cache.head_stride(); ++i) {
      auto const value = static_cast<float>(layer * 200 + i);
      cache.keys(layer)[i] = tightkv::half(value);
      cache.values(layer)[i] = tightkv::half(-value);
    }
  }
  cache.appended(8);
  return cache;
}

TEST(kv_cache, starts_empty) {
  engine::kv_cache<float> const cache{{.layers = 2, .kv_heads = 3, .capacity = 10, .head_dim = 4}};
  EXPECT_THAT(cache.lengths(1), ElementsAre(0, 0, 0));
  EXPECT_EQ(cache.next_position(), 0);
  EXPECT_EQ(cache.bytes_in_use(), 0U);
  EXPECT_EQ(cache.head_stride(), 40);
}

TEST(kv_cache, counts_positions_on_when_rows_are_gone) {
  auto cache = filled();
  EXPECT_EQ(cache.bytes_in_use(), 2U * 2 * 3 * 8 * 4 * 2);
  cache.compacted(1, std::vector{3, 8, 0});
  EXPECT_THAT(cache.lengths(0), ElementsAre(8, 8, 8));
  EXPECT_THAT(cache.lengths(1), ElementsAre(3, 8, 0));
  EXPECT_EQ(cache.bytes_in_use(), 2U * (24 + 11) * 4 * 2);
  cache.appended(2);
  EXPECT_THAT(cache.lengths(1), ElementsAre(5, 10, 2));
  EXPECT_EQ(cache.next_position(), 10);
  EXPECT_EQ(cache.longest(), 10);
}

TEST(kv_cache, copies_are_independent) {
  auto const cache = filled();
  auto copy = cache;
  copy.keys(0)[0] = tightkv::half(77.0F);
  copy.compacted(0, std::vector{1, 1, 1});
  EXPECT_EQ(static_cast<float>(cache.keys(0)[0]), 0.0F);
  EXPECT_THAT(cache.lengths(0), ElementsAre(8, 8, 8));
}

TEST(kv_cache, refuses_lengths_that_cannot_be) {
  auto cache = filled();
  EXPECT_THROW(cache.compacted(2, std::vector{1, 1, 1}), tightkv::bad_argument);
  EXPECT_THROW(cache.compacted(0, std::vector{1, 1}), tightkv::bad_argument);
  EXPECT_THROW(cache.compacted(0, std::vector{1, 9, 1}), tightkv::bad_argument);
  EXPECT_THROW(cache.compacted(0, std::vector{1, -1, 1}), tightkv::bad_argument);
  EXPECT_THAT(cache.lengths(0), ElementsAre(8, 8, 8));
  EXPECT_THROW((engine::kv_cache<float>{{.layers = 1, .kv_heads = 1, .capacity = 0, .head_dim = 1}}),
               tightkv::bad_argument);
}

TEST(cache_view, sees_the_caches_own_memory_and_lengths) {
  auto cache = filled();
  auto const view = engine::view_of(cache, 1);
  EXPECT_EQ(view.heads(), 3);
  EXPECT_EQ(view.tokens(2), 8);
  EXPECT_EQ(&view.keys.head(2)[5][1], cache.keys(1) + 2 * cache.head_stride() + 5 * 4 + 1);
  EXPECT_EQ(&view.values.head(0)[7][3], cache.values(1) + 7 * 4 + 3);
  cache.compacted(1, std::vector{3, 8, 0});
  EXPECT_EQ(view.tokens(2), 0);
}

TEST(cache_view, is_all_a_method_needs) {
  auto cache = filled();
  engine::thread_pool pool{2};
  tightkv::streaming_llm::state state;
  auto const method = tightkv::streaming_llm{.budget = tightkv::keep_tokens{3}, .sink = 1};
  auto const done = tightkv::compress(engine::executor_on(pool), method, engine::view_of(cache, 1), state);
  cache.compacted(1, done.plan.lengths());
  EXPECT_THAT(cache.lengths(1), ElementsAre(3, 3, 3));
  auto const view = engine::view_of(cache, 1);
  for (int h = 0; h < 3; ++h) {
    int const first = 200 + h * 40;
    EXPECT_EQ(static_cast<float>(view.keys.head(h)[0][0]), static_cast<float>(first));
    EXPECT_EQ(static_cast<float>(view.keys.head(h)[1][0]), static_cast<float>(first + 6 * 4));
    EXPECT_EQ(static_cast<float>(view.values.head(h)[2][0]), static_cast<float>(-first - 7 * 4));
  }
}

}  // namespace kv_cache_test
