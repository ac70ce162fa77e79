// SPDX-License-Identifier: Apache-2.0
/// Gram matrices and projections see neither the layout nor the heads outside their group.
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

#include <support/any_layout.hpp>
#include <tightkv/ops/gram_update.hpp>
#include <tightkv/ops/project_heads.hpp>

namespace any_layout_merging_test {

using namespace tests;

TEST(any_layout_merging, gives_the_same_gram_matrices_and_projections) {
  constexpr int head_dim = 80;
  constexpr int rank = 8;
  auto const factors = random_numbers(head_dim * rank, 5);
  std::vector<float> const matrix(factors.begin(), factors.end());

  // Even rows of the result are entries of each head's Gram matrix, odd rows are entries of its projected rows.
  auto const both = [&](auto const& keys, auto const&, auto const&, auto out) {
    for (int h = 0; h < keys.heads(); ++h) {
      tightkv::matrix<double> products(head_dim, head_dim);
      std::vector<double> sums(head_dim);
      tightkv::rows_counted counted;
      tightkv::gram_update(tightkv::plain_cpu{}, keys, {.first = h}, {products.view(), sums.data(), &counted});
      ASSERT_EQ(counted.added, keys.tokens(h));
      for (int t = 0; t < keys.tokens(h); ++t) {
        out(2 * h, t) = static_cast<float>(products(t, 2 * t) + sums[static_cast<std::size_t>(t)]);
      }
    }
    std::vector<int> starts{0};
    for (int h = 0; h < keys.heads(); ++h) starts.push_back(starts.back() + keys.tokens(h));
    std::vector<float> projected(static_cast<std::size_t>(starts.back() * rank));
    auto const to = tightkv::packed_heads(projected.data(), starts.data(), keys.heads(), rank);
    tightkv::project_heads(tightkv::plain_cpu{}, keys, {matrix.data(), head_dim, rank}, to);
    for (int h = 0; h < keys.heads(); ++h) {
      for (int t = 0; t < keys.tokens(h); ++t) out(2 * h + 1, t) = to.head(h)[t][t % rank];
    }
  };
  expect_same_in_any_layout<tightkv::half>(head_dim, both, 2);
}

}  // namespace any_layout_merging_test
