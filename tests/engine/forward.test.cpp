// SPDX-License-Identifier: Apache-2.0
#include "forward.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include <engine/plain_llama.hpp>
#include <engine/tiny_model.hpp>
#include <tightkv/core/error.hpp>

#include "cache_view.hpp"

namespace forward_test {

using engine::token;
using test::plain_llama;
using test::tiny_model;

std::vector<token> text(int tokens, unsigned seed = 1) {
  std::mt19937 random{seed};
  std::vector<token> result;
  for (int i = 0; i < tokens; ++i) result.push_back(static_cast<token>(random() % 50));
  return result;
}

struct loaded {
  explicit loaded(tiny_model const& tiny, int threads = 2) : pool(threads), model(file_of(tiny), pool) {}

  template <class T = float>
  engine::kv_cache<T> cache(int capacity = 512) const {
    auto const& s = model.shape();
    return engine::kv_cache<T>{
        {.layers = s.layers, .kv_heads = s.kv_heads, .capacity = capacity, .head_dim = s.head_dim}};
  }
  template <class T>
  tightkv::matrix<float> run(std::span<token const> tokens, engine::kv_cache<T>& cache,
                             engine::query_capture* queries = nullptr) {
    return logits(
        model, pool,
        engine::forward<T>(model, pool,
                           {.tokens = tokens, .cache = cache, .queries = queries, .outputs = engine::all_rows}));
  }

  std::vector<std::byte> bytes;
  engine::thread_pool pool;
  engine::model model;

 private:
  tightkv::gguf::file file_of(tiny_model const& tiny) {
    bytes = tiny.builder.build();
    return tightkv::gguf::file{bytes};
  }
};

/// The largest difference between rows [first, ...) of the expected logits and the given ones.
template <class Expected>
double difference(tightkv::matrix<float> const& given, Expected const& expected, int first = 0) {
  double worst = 0;
  for (int r = 0; r < given.rows(); ++r) {
    for (int c = 0; c < given.cols(); ++c) {
      worst =
          std::max(worst, std::abs(double{given.row(r)[static_cast<std::size_t>(c)]} - double{expected(first + r, c)}));
    }
  }
  return worst;
}
auto as_function(test::rows const& r) {
  return [&r](int i, int j) { return r[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)]; };
}

constexpr double rounding = 2e-4;

TEST(forward, agrees_with_the_plain_model) {
  auto const tokens = text(150);
  for (auto const outputs : {test::output_weights::tied, test::output_weights::own}) {
    for (int const turned : {8, 4}) {
      tiny_model const tiny{{.rope_dimensions = turned}, outputs};
      loaded l{tiny};
      auto cache = l.cache();
      EXPECT_LT(difference(l.run(tokens, cache), as_function(plain_llama{tiny}.logits(tokens))), rounding);
      EXPECT_EQ(cache.next_position(), 150);
      EXPECT_EQ(cache.length(2, 1), 150);
    }
  }
}

TEST(forward, is_the_same_in_any_chunks) {
  tiny_model const tiny;
  loaded l{tiny};
  auto const tokens = text(300);
  auto whole = l.cache();
  auto const expected = l.run(tokens, whole);
  for (std::size_t const chunk : {1U, 7U, 20U, 257U}) {
    auto cache = l.cache();
    for (std::size_t at = 0; at < tokens.size(); at += chunk) {
      auto const part = std::span(tokens).subspan(at, std::min(chunk, tokens.size() - at));
      EXPECT_LT(difference(l.run(part, cache), expected, static_cast<int>(at)), rounding);
    }
  }
}

TEST(forward, does_not_depend_on_threads) {
  tiny_model const tiny;
  auto const tokens = text(100);
  loaded one{tiny, 1};
  auto cache = one.cache();
  auto const expected = one.run(tokens, cache);
  for (int const threads : {2, 5}) {
    loaded many{tiny, threads};
    auto other = many.cache();
    EXPECT_LT(difference(many.run(tokens, other), expected), rounding);
  }
}

template <class T>
double error_of_element() {
  tiny_model const tiny;
  loaded l{tiny};
  auto const tokens = text(100);
  auto const expected = plain_llama{tiny}.logits(tokens);
  auto cache = l.cache<T>();
  return difference(l.run(std::span<token const>(tokens), cache), as_function(expected));
}

TEST(forward, rounds_as_coarsely_as_the_caches_elements) {
  EXPECT_LT(error_of_element<float>(), rounding);
  EXPECT_LT(error_of_element<tightkv::half>(), 0.05);
  EXPECT_GT(error_of_element<tightkv::half>(), rounding);
  EXPECT_LT(error_of_element<tightkv::bfloat16>(), 0.5);
  EXPECT_GT(error_of_element<tightkv::bfloat16>(), error_of_element<tightkv::half>());
}

TEST(forward, runs_several_sequences_as_if_each_were_alone) {
  tiny_model const tiny;
  loaded l{tiny};
  std::vector<std::vector<token>> const texts{text(40, 1), text(3, 2), text(90, 3)};
  std::vector<engine::kv_cache<float>> together(3, l.cache());
  std::vector<engine::new_tokens<float>> sequences;
  for (std::size_t i = 0; i < 3; ++i) {
    sequences.push_back({.tokens = texts[i], .cache = together[i], .outputs = i == 1 ? engine::all_rows : 2});
  }
  auto const hidden = engine::forward<float>(l.model, l.pool, sequences);
  ASSERT_EQ(hidden.rows(), 2 + 3 + 2);
  int row = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    auto cache = l.cache();
    auto const expected = l.run(texts[i], cache);
    int const outputs = i == 1 ? 3 : 2;
    EXPECT_LT(difference(logits(l.model, l.pool, hidden, {.first = row, .count = outputs}), expected,
                         expected.rows() - outputs),
              rounding);
    row += outputs;
    EXPECT_EQ(together[i].next_position(), static_cast<int>(texts[i].size()));
  }
}

// Different rows per layer and head; afterwards tokens keep their positions.
bool is_kept(int layer, int head, int t) { return t == 0 || t >= 50 || t % (2 + layer + head) == 0; }

template <class T>
void evict(engine::kv_cache<T>& cache) {
  for (int layer = 0; layer < cache.shape().layers; ++layer) {
    auto const view = engine::view_of(cache, layer);
    std::vector<int> lengths;
    for (int h = 0; h < view.heads(); ++h) {
      int to = 0;
      for (int t = 0; t < view.tokens(h); ++t) {
        if (!is_kept(layer, h, t)) continue;
        std::ranges::copy_n(&view.keys.head(h)[t][0], cache.shape().head_dim, &view.keys.head(h)[to][0]);
        std::ranges::copy_n(&view.values.head(h)[t][0], cache.shape().head_dim, &view.values.head(h)[to][0]);
        ++to;
      }
      lengths.push_back(to);
    }
    cache.compacted(layer, lengths);
  }
}

TEST(forward, keeps_positions_after_eviction) {
  tiny_model const tiny;
  loaded l{tiny};
  auto const tokens = text(90);
  auto cache = l.cache();
  static_cast<void>(l.run(std::span(tokens).first(60), cache));
  evict(cache);
  EXPECT_EQ(cache.length(0, 0), 35);
  EXPECT_EQ(cache.length(0, 1), 27);
  EXPECT_EQ(cache.next_position(), 60);

  plain_llama plain{tiny};
  plain.sees = [](int layer, int head, int t, int earlier) {
    return t < 60 || earlier >= 60 || is_kept(layer, head, earlier);
  };
  auto const expected = plain.logits(tokens);
  EXPECT_LT(difference(l.run(std::span(tokens).subspan(60, 29), cache), as_function(expected), 60), rounding);
  EXPECT_LT(difference(l.run(std::span(tokens).subspan(89, 1), cache), as_function(expected), 89), rounding);
  EXPECT_EQ(cache.length(0, 1), 27 + 30);
}

TEST(forward, captures_the_queries_of_the_last_tokens) {
  tiny_model const tiny;
  loaded l{tiny};
  auto const tokens = text(30);
  plain_llama plain{tiny};
  static_cast<void>(plain.logits(tokens));
  for (int const window : {5, engine::all_rows, 0}) {
    auto cache = l.cache();
    engine::query_capture capture{.window = window};
    static_cast<void>(l.run(tokens, cache, &capture));
    ASSERT_EQ(capture.rows, std::min(window, 30));
    ASSERT_EQ(capture.layers.size(), 3U);
    for (int layer = 0; layer < 3 && window != 0; ++layer) {
      auto const queries = engine::queries_of(capture, layer);
      ASSERT_EQ(queries.heads(), 6);
      for (int h = 0; h < 6; ++h) {
        for (int r = 0; r < capture.rows; ++r) {
          auto const& expected =
              plain.queries[static_cast<std::size_t>(layer)][static_cast<std::size_t>(30 - capture.rows + r)];
          for (int d = 0; d < 8; ++d)
            EXPECT_NEAR(queries.head(h)[r][d], expected[static_cast<std::size_t>(h * 8 + d)], 1e-4);
        }
      }
    }
  }
}

TEST(forward, refuses_what_it_cannot_run_and_leaves_the_cache) {
  tiny_model const tiny;
  loaded l{tiny};
  auto cache = l.cache(10);
  auto const run = [&](std::vector<token> const& tokens) { return l.run(std::span<token const>(tokens), cache); };
  static_cast<void>(run(text(4)));
  EXPECT_THROW(run({}), tightkv::bad_argument);
  EXPECT_THROW(run({1, 50}), tightkv::bad_argument);
  EXPECT_THROW(run({-1}), tightkv::bad_argument);
  EXPECT_THROW(run(text(7)), tightkv::bad_argument);
  auto const one = text(1);
  std::vector<engine::new_tokens<float>> const twice(2, {.tokens = one, .cache = cache});
  EXPECT_THROW(engine::forward<float>(l.model, l.pool, twice), tightkv::bad_argument);
  engine::kv_cache<float> other{{.layers = 3, .kv_heads = 3, .capacity = 10, .head_dim = 8}};
  EXPECT_THROW(l.run(std::span(one), other), tightkv::bad_argument);
  EXPECT_EQ(cache.next_position(), 4);
  EXPECT_EQ(cache.longest(), 4);
  EXPECT_EQ(run(text(6)).rows(), 6);  // exactly full
}

TEST(greedy, takes_the_first_of_equals) {
  EXPECT_EQ(engine::greedy(std::vector{1.0F, 3.0F, 3.0F, 2.0F}), 1);
  EXPECT_THROW(engine::greedy({}), tightkv::bad_argument);
}

}  // namespace forward_test
