// SPDX-License-Identifier: Apache-2.0
/// Fast Gram matrices are the plain ones within 128 roundings of a float, and count the same rows.
#include <support/unoptimised.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/instruction_sets.hpp>
#include <support/layouts.hpp>
#include <tightkv/ops/gram_update.hpp>

namespace gram_update_test {

using namespace tests;

constexpr int head_count = 4;
constexpr tightkv::head_range group{.first = 1, .heads = 2, .skip = 1};

struct sums {
  tightkv::matrix<double> products;
  std::vector<double> linear;
  tightkv::rows_counted count;
};

template <class E, class P>
sums sums_of(E const& ex, P const& keys) {
  int const size = group.heads * keys.head_dim();
  sums result{{size, size}, std::vector<double>(static_cast<std::size_t>(size), 0.5), {}};
  tightkv::gram_update(ex, keys, group, {result.products.view(), result.linear.data(), &result.count});
  return result;
}

/// The same of magnitudes: what errors are measured by.
template <class P>
sums magnitudes_of(P const& keys, sums const& plain) {
  std::vector<double> x(plain.linear.size());
  sums result{{plain.products.rows(), plain.products.cols()}, std::vector<double>(x.size()), plain.count};
  for (int t = group.skip; t < keys.tokens(group.first); ++t) {
    if (!tightkv::detail::read_group(keys, group, t, x.data())) continue;
    for (int a = 0; a < result.products.rows(); ++a) {
      double const factor = std::abs(x[static_cast<std::size_t>(a)]);
      result.linear[static_cast<std::size_t>(a)] += factor;
      for (int b = 0; b < result.products.cols(); ++b)
        result.products(a, b) += factor * std::abs(x[static_cast<std::size_t>(b)]);
    }
  }
  return result;
}

void expect_near(sums const& fast, sums const& plain, sums const& magnitudes) {
  constexpr double rounding = 128 * 0x1p-24;
  ASSERT_EQ(fast.count, plain.count);
  for (int a = 0; a < plain.products.rows(); ++a) {
    auto const i = static_cast<std::size_t>(a);
    ASSERT_NEAR(fast.linear[i], plain.linear[i], rounding * magnitudes.linear[i] + 1e-15) << a;
    for (int b = 0; b < plain.products.cols(); ++b) {
      ASSERT_NEAR(fast.products(a, b), plain.products(a, b), rounding * magnitudes.products(a, b)) << a << ' ' << b;
      ASSERT_EQ(fast.products(a, b), fast.products(b, a));
    }
  }
}

template <class T, class Layout>
void expect_as_plain(int tokens, int head_dim) {
  SCOPED_TRACE(testing::Message() << tokens << " x " << head_dim);
  auto rows = random_rows<T>({std::vector<int>(head_count, tokens), head_dim}, 1);
  if (tokens > 40) {  // a head of the group has a row that does not count, another head's is no matter
    rows.set(2, 37, head_dim - 1, element<T>(std::numeric_limits<double>::quiet_NaN()));
    rows.set(1, 5, 0, element<T>(std::numeric_limits<double>::infinity()));
    rows.set(3, 6, 0, element<T>(std::numeric_limits<double>::quiet_NaN()));
  }
  cache<Layout> cached(rows);
  auto const keys = cached.template plane<T>();
  auto const plain = sums_of(tightkv::plain_cpu{}, keys);
  auto const magnitudes = magnitudes_of(keys, plain);
  for (auto const set : instruction_sets()) {
    SCOPED_TRACE(testing::Message() << "instruction set " << static_cast<int>(set));
    expect_near(sums_of(tightkv::cpu{}.with(set), keys), plain, magnitudes);
  }
}

template <class T>
struct fast_gram_update : ::testing::Test {};
TYPED_TEST_SUITE(fast_gram_update, elements, element_names);

// One token, some, and more than are packed at once; channels that fill no panel.
TYPED_TEST(fast_gram_update, is_the_plain_one) {
  for (int const head_dim : {1, 7, 33, 80}) {
    for (int const tokens : {1, 2, 50, 300}) expect_as_plain<TypeParam, nhd_layout>(tokens, head_dim);
  }
}

TEST(fast_gram_update_of_floats, reads_rows_whose_values_lie_apart) {
  expect_as_plain<float, transposed_layout>(70, 20);
}

TEST(fast_gram_update_of_floats, is_the_same_in_any_order) {
  cache<nhd_layout> cached(random_rows<float>({std::vector<int>(head_count, 300), 64}, 2));
  auto const keys = cached.plane<float>();
  auto const once = sums_of(tightkv::cpu{}, keys);
  auto const backwards = sums_of(tightkv::basic_cpu{[](int n, auto&& f) {
                                   for (int i = n - 1; i >= 0; --i) f(i);
                                 }},
                                 keys);
  for (int a = 0; a < once.products.rows(); ++a) {
    for (int b = 0; b < once.products.cols(); ++b) ASSERT_EQ(once.products(a, b), backwards.products(a, b));
  }
  EXPECT_EQ(once.linear, backwards.linear);
}

}  // namespace gram_update_test
