// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <support/rows.hpp>
#include <tightkv/ops/gram_update.hpp>

namespace gram_update_test {

using namespace tests;
using ::testing::ElementsAre;

struct sums {
  tightkv::matrix<double> products;
  std::vector<double> linear;
  tightkv::rows_counted counted;

  explicit sums(int size) : products(size, size), linear(static_cast<std::size_t>(size)) {}
  tightkv::gram_view<> view() { return {products.view(), linear.data(), &counted}; }
};

/// The Gram matrix of two heads of two channels, three tokens each.
struct two_heads {
  std::vector<float> rows{1, 2, /**/ 0, 1, /**/ 3, 0, /*head 1*/ 5, 0, /**/ 1, 1, /**/ 0, 2};
  sums of{4};

  tightkv::rows_counted add(tightkv::head_range const& group = {.heads = 2}) {
    tightkv::gram_update(tightkv::plain_cpu{}, tightkv::hnd(rows.data(), {2, 3, 2}), group, of.view());
    return of.counted;
  }
};

TEST(gram_update, of_a_worked_example) {
  // Side by side the rows are (1 2 5 0), (0 1 1 1), (3 0 0 2).
  two_heads x;
  auto const count = x.add();
  EXPECT_EQ(count, (tightkv::rows_counted{.added = 3}));
  EXPECT_THAT(x.of.products.row(0), ElementsAre(10, 2, 5, 6));
  EXPECT_THAT(x.of.products.row(1), ElementsAre(2, 5, 11, 1));
  EXPECT_THAT(x.of.products.row(2), ElementsAre(5, 11, 26, 1));
  EXPECT_THAT(x.of.products.row(3), ElementsAre(6, 1, 1, 5));
  EXPECT_THAT(x.of.linear, ElementsAre(4, 3, 6, 3));
}

TEST(gram_update, adds_to_what_is_there) {
  two_heads x;
  x.add();
  EXPECT_EQ(x.add(), (tightkv::rows_counted{.added = 6}));
  EXPECT_THAT(x.of.products.row(1), ElementsAre(4, 10, 22, 2));
  EXPECT_THAT(x.of.linear, ElementsAre(8, 6, 12, 6));
}

TEST(gram_update, leaves_out_the_first_tokens) {
  two_heads x;
  EXPECT_EQ(x.add({.heads = 2, .skip = 2}).added, 1);
  EXPECT_THAT(x.of.products.row(0), ElementsAre(9, 0, 0, 6));
  two_heads all_skipped;
  EXPECT_EQ(all_skipped.add({.heads = 2, .skip = 7}).added, 0);
  EXPECT_THAT(all_skipped.of.linear, ElementsAre(0, 0, 0, 0));
}

TEST(gram_update, leaves_out_and_counts_tokens_that_are_not_finite_in_any_head_of_the_group) {
  two_heads x;
  x.rows[8] = NAN;                                     // head 1, token 1
  x.rows[5] = std::numeric_limits<float>::infinity();  // head 0, token 2
  EXPECT_EQ(x.add(), (tightkv::rows_counted{.added = 1, .not_finite = 2}));
  EXPECT_THAT(x.of.products.row(2), ElementsAre(5, 10, 25, 0));
}

template <class T>
struct gram_update_of : ::testing::Test {};
TYPED_TEST_SUITE(gram_update_of, elements, element_names);

TYPED_TEST(gram_update_of, some_heads_is_that_of_their_rows_in_double) {
  constexpr int dim = 20;
  tests::rows const logical = random_rows<TypeParam>({{70, 70, 70, 70}, dim}, 3);
  cache<nhd_layout> keys(logical);
  sums got(2 * dim);
  tightkv::gram_update(tightkv::plain_cpu{}, keys.plane<TypeParam>(), {.first = 1, .heads = 2, .skip = 3}, got.view());
  auto const x = [&](int t, int a) { return value_of(logical.get<TypeParam>(1 + a / dim, t, a % dim)); };
  for (int a = 0; a < 2 * dim; ++a) {
    for (int b = 0; b < 2 * dim; ++b) {
      double want = 0;
      for (int t = 3; t < 70; ++t) want += x(t, a) * x(t, b);
      ASSERT_NEAR(got.products(a, b), want, 1e-12) << a << ' ' << b;
      ASSERT_EQ(got.products(a, b), got.products(b, a));
    }
  }
}

TEST(gram_update, refuses_groups_outside_the_plane_and_sums_of_another_size) {
  two_heads x;
  EXPECT_THROW(x.add({.first = 1, .heads = 2}), tightkv::bad_argument);
  EXPECT_THROW(x.add({.first = -1, .heads = 2}), tightkv::bad_argument);
  EXPECT_THROW(x.add({.heads = 0}), tightkv::bad_argument);
  EXPECT_THROW(x.add({.heads = 1}), tightkv::bad_argument);  // sums of 4 channels, rows of 2
  EXPECT_THROW(x.add({.heads = 2, .skip = -1}), tightkv::bad_argument);
  EXPECT_THAT(x.of.linear, ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(x.of.counted, tightkv::rows_counted{});
  std::vector<int> const starts{0, 3, 5};
  auto const uneven = tightkv::packed_heads(x.rows.data(), starts.data(), 2, 2);
  EXPECT_THROW(tightkv::gram_update(tightkv::plain_cpu{}, uneven, {.heads = 2}, x.of.view()), tightkv::bad_argument);
  auto const rows = tightkv::hnd(x.rows.data(), {2, 3, 2});
  auto nowhere = x.of.view();
  nowhere.counted = nullptr;
  EXPECT_THROW(tightkv::gram_update(tightkv::plain_cpu{}, rows, {.heads = 2}, nowhere), tightkv::bad_argument);
}

}  // namespace gram_update_test
