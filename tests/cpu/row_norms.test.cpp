// SPDX-License-Identifier: Apache-2.0
/// Fast row norms are the plain ones, bit for bit.
#include <support/unoptimised.hpp>

#include <vector>

#include <gtest/gtest.h>

#include <support/row_scores.hpp>
#include <tightkv/ops/row_norms.hpp>

namespace row_norms_test {

using namespace tests;

template <class T>
struct fast_row_norms : ::testing::Test {};
TYPED_TEST_SUITE(fast_row_norms, elements, element_names);

TYPED_TEST(fast_row_norms, are_the_plain_ones) {
  expect_row_scores_as_plain<TypeParam>(
      [](auto const& ex, auto const& keys, auto out) { tightkv::row_norms(ex, keys, -1.5F, out); });
}

/// Heads of different lengths where a layout allows them, and more rows than are taken at once.
template <class Layout>
struct fast_row_norms_in_memory_order : ::testing::Test {};
using layouts_with_an_order =
    ::testing::Types<nhd_layout, paged_hnd_layout, cells_layout, tables_per_head_layout, batch_layout>;
TYPED_TEST_SUITE(fast_row_norms_in_memory_order, layouts_with_an_order);

TYPED_TEST(fast_row_norms_in_memory_order, are_the_plain_ones) {
  int const odd = TypeParam::varied ? 211 : 333;
  auto const r = random_rows<float>({{333, odd, 333, odd}, 20}, 4);
  cache<TypeParam> keys(r);
  expect_scores_as_plain(r.heads(), r.longest(), [&](auto const& ex, auto out) {
    tightkv::row_norms(ex, keys.template plane<float>(), -1.0F, out);
  });
}

/// Heads of one layer of which some end sooner than others: in pages, and side by side.
template <class Layout>
struct fast_row_norms_of_heads_that_end : ::testing::Test {};
using layouts_of_a_layer = ::testing::Types<nhd_layout, paged_hnd_layout>;
TYPED_TEST_SUITE(fast_row_norms_of_heads_that_end, layouts_of_a_layer);

TYPED_TEST(fast_row_norms_of_heads_that_end, are_the_plain_ones) {
  std::vector<int> const lengths{301, 211, 0, 40};
  cache<TypeParam> keys(random_rows<float>({std::vector<int>(4, 333), 20}, 5));
  expect_scores_as_plain(4, 333, [&](auto const& ex, auto out) {
    tightkv::row_norms(ex, keys.template plane<float>().with_lengths(lengths.data()), -1.0F, out);
  });
}

}  // namespace row_norms_test
