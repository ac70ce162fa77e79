// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <support/near.hpp>
#include <support/oracle.hpp>
#include <tightkv/ops/attention_mass.hpp>

namespace attention_mass_test {

using namespace tests;
using numbers = std::vector<float>;

constexpr float inf = std::numeric_limits<float>::infinity();

template <class T>
struct attention_mass : ::testing::Test {};
TYPED_TEST_SUITE(attention_mass, elements, element_names);

/// Two KV heads of 37 keys; their query heads have 13 queries each, of which the last 11 are asked.
template <class T>
struct observed {
  rows keys;
  rows queries;
  cache<hnd_layout> k{keys};
  cache<hnd_layout> q{queries};
  std::vector<int> asked{11, 11};

  observed(int head_dim, int group)
      : keys(random_rows<T>({{37, 37}, head_dim}, 8)),
        queries(random_rows<T>({std::vector<int>(static_cast<std::size_t>(2 * group), 13), head_dim}, 9)) {}
};

TYPED_TEST(attention_mass, is_the_sum_of_the_attention_of_the_groups_queries) {
  for (int const head_dim : head_dims) {
    for (int const group : gqa_groups) {
      observed<TypeParam> o(head_dim, group);
      tightkv::matrix<float> out(2, 37, 0.0F);
      tightkv::attention_mass(
          tightkv::plain_cpu{},
          tightkv::kv_view(o.k.template plane<TypeParam>(), tightkv::absent{}, o.q.template plane<TypeParam>()),
          o.asked, out.view());
      for (int h = 0; h < 2; ++h) {
        oracle::numbers want(37);
        for (int i = 0; i < group; ++i) {
          auto queries = oracle::head<TypeParam>(o.queries, h * group + i);
          queries.erase(queries.begin(), queries.begin() + 2);
          auto const p = oracle::attention(queries, oracle::head<TypeParam>(o.keys, h));
          auto const sum = oracle::sum_of(p, 37);
          for (std::size_t j = 0; j < 37; ++j) want[j] += sum[j];
        }
        expect_near(out.row(h), want, 2e-5, 1e-3);
        double const total = std::accumulate(out.row(h).begin(), out.row(h).end(), 0.0);
        EXPECT_NEAR(total, 11 * group, 1e-4 * group);
      }
    }
  }
}

TEST(attention_mass, is_the_same_where_the_normaliser_of_each_row_is_given) {
  for (int const head_dim : head_dims) {
    for (int const group : gqa_groups) {
      observed<float> o(head_dim, group);
      tightkv::matrix<float> lse(2 * group, 13);
      for (int q = 0; q < 2 * group; ++q) {
        auto const of_rows = oracle::row_lse(oracle::head<float>(o.queries, q), oracle::head<float>(o.keys, q / group));
        for (int i = 0; i < 13; ++i) lse(q, i) = static_cast<float>(of_rows[static_cast<std::size_t>(i)]);
      }
      auto const keys = o.k.plane<float>();
      auto const queries = o.q.plane<float>();
      tightkv::matrix<float> without(2, 37, 0.0F);
      tightkv::matrix<float> with(2, 37, 0.0F);
      tightkv::attention_mass(tightkv::plain_cpu{}, tightkv::kv_view(keys, tightkv::absent{}, queries), o.asked,
                              without.view());
      tightkv::attention_mass(tightkv::plain_cpu{},
                              tightkv::kv_view(keys, tightkv::absent{}, queries, std::as_const(lse).view()), o.asked,
                              with.view());
      for (int h = 0; h < 2; ++h) {
        expect_near(with.row(h), {without.row(h).begin(), without.row(h).end()}, 2e-5, 1e-3);
      }
    }
  }
}

/// One head, one query head, and what was accumulated before.
numbers mass(numbers const& keys, numbers const& queries, int head_dim, int asked, numbers before = {}) {
  int const tokens = static_cast<int>(keys.size()) / head_dim;
  before.resize(static_cast<std::size_t>(tokens));
  tightkv::kv_view const view(tightkv::hnd(keys.data(), {1, tokens, head_dim}), tightkv::absent{},
                              tightkv::hnd(queries.data(), {1, static_cast<int>(queries.size()) / head_dim, head_dim}));
  tightkv::attention_mass(tightkv::plain_cpu{}, view, std::vector<int>{asked}, {before.data(), 1, tokens});
  return before;
}

TEST(attention_mass, of_equal_logits) {
  // Rows (1), (1/2, 1/2), (1/3, 1/3, 1/3).
  expect_near(mass({1, 1, 1}, {0, 0, 0}, 1, 3), {11 / 6.0, 5 / 6.0, 1 / 3.0}, 1e-6);
}

TEST(attention_mass, is_added_to_what_was_there) {
  // With d = 1 the logits are q k; after evicting token 1, p = (.2, .5, .3) and then p = (.1, .1, .8).
  auto const logs = [](double a, double b, double c) {
    return numbers{static_cast<float>(std::log(a)), static_cast<float>(std::log(b)), static_cast<float>(std::log(c))};
  };
  expect_near(mass(logs(.2, .5, .3), {1}, 1, 1, {1.833333F, .333333F}), {2.033333, .833333, .3}, 1e-6);
  expect_near(mass(logs(.1, .1, .8), {1}, 1, 1, {2.033333F, .3F}), {2.133333, .4, .8}, 1e-6);
}

TEST(attention_mass, of_chunks_is_that_of_the_whole_prompt) {
  constexpr int tokens = 53;
  constexpr int head_dim = 80;
  auto const to_floats = [](std::vector<double> const& v) { return numbers(v.begin(), v.end()); };
  auto const keys = to_floats(random_numbers(tokens * head_dim, 10));
  auto const queries = to_floats(random_numbers(tokens * head_dim, 11));
  auto const whole = mass(keys, queries, head_dim, tokens);
  for (int const chunk : {1, 7, 16}) {
    numbers sum;
    for (int end = std::min(chunk, tokens);; end = std::min(end + chunk, tokens)) {
      int const begin = (end - 1) / chunk * chunk;
      auto const rows = [&](numbers const& v, int from) {
        return numbers(v.begin() + from * head_dim, v.begin() + end * head_dim);
      };
      sum = mass(rows(keys, 0), rows(queries, begin), head_dim, end - begin, sum);
      if (end == tokens) break;
    }
    expect_near(sum, {whole.begin(), whole.end()}, 1e-5);
  }
}

TEST(attention_mass, does_not_change_when_a_constant_is_added_to_a_querys_logits) {
  // A channel in which all keys are equal adds the same to all of a query's logits.
  auto const without = mass({1, 0, /**/ 2, 0, /**/ 0.5F, 0}, {3, 5, /**/ -1, 7, /**/ 2, -9}, 2, 3);
  auto const with = mass({1, 4, /**/ 2, 4, /**/ 0.5F, 4}, {3, 5, /**/ -1, 7, /**/ 2, -9}, 2, 3);
  expect_near(with, {without.begin(), without.end()}, 1e-5);
}

TEST(attention_mass, of_a_key_that_is_not_finite_is_nan_and_it_is_as_if_masked_for_the_others) {
  for (float const bad : {NAN, inf, -inf}) expect_near(mass({1, bad, 1}, {0, 0, 0}, 1, 3), {2.5, NAN, 0.5}, 1e-6);
  expect_near(mass({NAN, NAN}, {0, 0}, 1, 2), {NAN, NAN}, 0);
}

TEST(attention_mass, passes_over_queries_that_are_not_finite) {
  expect_near(mass({1, 1, 1}, {0, NAN, 0}, 1, 3), {1 + 1 / 3.0, 1 / 3.0, 1 / 3.0}, 1e-6);
  expect_near(mass({1, 1, 1}, {0, 0, inf}, 1, 3), {1.5, 0.5, 0}, 1e-6);
}

TEST(attention_mass, passes_over_rows_that_an_engine_says_are_fully_masked) {
  numbers const keys{1, 1, 1};
  numbers const queries{0, 0, 0};
  numbers const lse{0.0F, -inf, std::log(3.0F)};  // of rows (1), (1/2, 1/2), (1/3, 1/3, 1/3)
  numbers out(3);
  auto const rows = [](numbers const& v) { return tightkv::hnd(v.data(), {1, 3, 1}); };
  tightkv::kv_view const view(rows(keys), tightkv::absent{}, rows(queries),
                              tightkv::matrix_view<float const>{lse.data(), 1, 3});
  tightkv::attention_mass(tightkv::plain_cpu{}, view, std::vector<int>{3}, {out.data(), 1, 3});
  expect_near(out, {1 + 1 / 3.0, 1 / 3.0, 1 / 3.0}, 1e-6);
}

TEST(attention_mass, of_no_queries_is_nothing) {
  expect_near(mass({1, 1, 1}, {0, 0, 0}, 1, 0, {4, 5, 6}), {4, 5, 6}, 0);
}

TEST(attention_mass, refuses_more_queries_than_the_view_has) {
  EXPECT_THROW(mass({1, 1, 1}, {0, 0}, 1, 3), tightkv::bad_argument);
  EXPECT_THROW(mass({1, 1, 1}, {0, 0}, 1, -1), tightkv::bad_argument);
  numbers const keys(3);
  auto const rows = tightkv::hnd(keys.data(), {1, 3, 1});
  tightkv::kv_view const view(rows, tightkv::absent{}, rows);
  tightkv::matrix<float> out(1, 3);
  EXPECT_THROW(tightkv::attention_mass(tightkv::plain_cpu{}, view, std::vector<int>{}, out.view()),
               tightkv::bad_argument);
}

}  // namespace attention_mass_test
