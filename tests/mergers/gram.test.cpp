// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mergers/sample.hpp>
#include <tightkv/mergers/eigen_cpu.hpp>
#include <tightkv/mergers/gram.hpp>
#include <tightkv/view/layouts.hpp>

namespace {

using namespace tests;

void expect_equal(tightkv::gram const& got, tightkv::gram const& want, double relative) {
  ASSERT_EQ(got.size(), want.size());
  EXPECT_EQ(got.rows(), want.rows());
  for (int a = 0; a < got.size(); ++a) {
    for (int b = 0; b < got.size(); ++b) {
      double const scale = std::sqrt(want.products()(a, a) * want.products()(b, b));
      ASSERT_NEAR(got.products()(a, b), want.products()(a, b), relative * scale);
    }
    double const scale = std::sqrt(static_cast<double>(want.rows().added) * want.products()(a, a));
    ASSERT_NEAR(got.sums()[static_cast<std::size_t>(a)], want.sums()[static_cast<std::size_t>(a)], relative * scale);
  }
}

TEST(gram, of_shards_in_any_split_adds_up_to_that_of_all_rows) {
  auto const rows = related_rows(600, 12, 1, 0.5F);
  auto const whole = gram_of(rows);
  std::mt19937 random(7);
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::vector<tightkv::gram> shards(3, tightkv::gram(12));
    for (int begin = 0; begin < rows.rows();) {
      int const count = std::min(1 + static_cast<int>(random() % 90), rows.rows() - begin);
      tightkv::matrix_view<float const> const some{rows.view().row(begin), count, 12};
      auto& shard = shards[random() % shards.size()];
      if (random() % 2 == 0) {
        shard.add(tightkv::plain_cpu{}, some);
      } else {
        shard.add(tightkv::eigen_cpu{}, some);
      }
      begin += count;
    }
    shards[2] += shards[0];
    shards[1] += shards[2];
    expect_equal(shards[1], whole, 1e-12);
  }
}

TEST(gram, through_eigen_is_that_of_the_plain_kernel) {
  // More than a tile, a part of one, a token to skip and one that is not finite in each tile; halves, heads inside
  // tokens.
  constexpr int tokens = 700;
  auto const rows = related_rows(tokens, 3 * 10, 2);
  std::vector<tightkv::half> keys;
  for (int t = 0; t < tokens; ++t) {
    for (float const x : rows.row(t)) keys.emplace_back(t % 256 == 100 ? NAN : x);
  }
  auto const plane = tightkv::nhd(keys.data(), {3, tokens, 10});
  tightkv::gram plain(20);
  tightkv::gram fast(20);
  for (int repeat = 0; repeat < 2; ++repeat) {
    plain.add(tightkv::plain_cpu{}, plane, {.first = 1, .heads = 2, .skip = 5});
    fast.add(tightkv::eigen_cpu{}, plane, {.first = 1, .heads = 2, .skip = 5});
  }
  EXPECT_EQ(plain.rows().not_finite, 6);
  EXPECT_EQ(plain.rows().added, 2 * (700 - 5 - 3));
  expect_equal(fast, plain, 1e-14);
  for (int a = 0; a < 20; ++a) {
    for (int b = 0; b < a; ++b) ASSERT_EQ(fast.products()(a, b), fast.products()(b, a));
  }
}

TEST(gram, refuses_sums_of_another_width) {
  tightkv::gram g(3);
  EXPECT_THROW(g += tightkv::gram(4), tightkv::bad_argument);
  numbers const rows(5, 4);
  EXPECT_THROW(g.add(tightkv::cpu{}, rows.view()), tightkv::bad_argument);
  EXPECT_THROW(tightkv::gram(0), tightkv::bad_argument);
}

TEST(gram, refuses_sums_from_elsewhere_that_cannot_be_right) {
  auto const from = [](std::vector<double> const& four, std::vector<double> sums) {
    table products(2, 2);
    for (int i = 0; i < 4; ++i) products(i / 2, i % 2) = four[static_cast<std::size_t>(i)];
    return tightkv::gram(products, std::move(sums), {.added = 3});
  };
  EXPECT_EQ(from({1, 2, 2, 5}, {1, 1}).size(), 2);
  EXPECT_THROW(from({1, 2, 3, 5}, {1, 1}), tightkv::bad_argument);   // not symmetric
  EXPECT_THROW(from({1, 2, 2, -5}, {1, 1}), tightkv::bad_argument);  // a negative sum of squares
  EXPECT_THROW(from({1, NAN, NAN, 5}, {1, 1}), tightkv::bad_argument);
  EXPECT_THROW(from({1, 2, 2, 5}, {1, INFINITY}), tightkv::bad_argument);
  EXPECT_THROW(from({1, 2, 2, 5}, {1}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::gram(table(2, 3), {0, 0}, {}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::gram(table(2, 2), {0, 0}, {.added = -1}), tightkv::bad_argument);
}

}  // namespace
