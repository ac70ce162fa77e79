// SPDX-License-Identifier: Apache-2.0
/// Fast projections are the plain ones within a rounding per channel that is read.
#include <support/unoptimised.hpp>

#include <cmath>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include <support/instruction_sets.hpp>
#include <support/layouts.hpp>
#include <tightkv/ops/project_heads.hpp>

namespace project_heads_test {

using namespace tests;

struct projection {
  int heads;     // that are read
  int to;        // that are written
  int matrices;  // each serves as many heads that are written
  int head_dim;  // that is read
  int rank;      // that is written
  int tokens;
};
// One token, more than are taken at once; columns that fill no vector; one matrix for all heads, and one for each.
constexpr projection cases[] = {{6, 2, 2, 64, 64, 1}, {6, 2, 1, 33, 20, 5}, {3, 1, 1, 64, 80, 60},
                                {6, 6, 3, 80, 17, 9}, {2, 1, 1, 7, 5, 13},  {6, 3, 3, 16, 128, 48}};

std::vector<float> matrices_of(projection const& p, int stride) {
  auto const numbers = random_numbers(static_cast<std::size_t>(p.matrices * (p.heads / p.to) * p.head_dim * stride), 2);
  return {numbers.begin(), numbers.end()};
}

/// Rows of T become rows of To, by matrices in the left columns of wider ones.
template <class T, class To, class Layout>
void expect_as_plain(projection const& p, std::vector<float> const& factors, int stride) {
  SCOPED_TRACE(testing::Message() << p.heads << " heads of " << p.tokens << " x " << p.head_dim);
  cache<Layout> cached(random_rows<T>({std::vector<int>(static_cast<std::size_t>(p.heads), p.tokens), p.head_dim}, 1));
  auto const from = cached.template plane<T>();
  int const inputs = p.heads / p.to * p.head_dim;
  tightkv::matrix_view<float const> const matrices{factors.data(), p.matrices * inputs, p.rank, stride};

  auto const projected = [&](auto const& ex) {
    std::vector<To> out(static_cast<std::size_t>(p.to * p.tokens * p.rank));
    tightkv::project_heads(ex, from, matrices, tightkv::nhd(out.data(), {p.to, p.tokens, p.rank}));
    return out;
  };
  auto const plain = projected(tightkv::plain_cpu{});
  // Both are off by a rounding per channel, of the sum of the products' magnitudes, and by one of the element.
  auto const tolerance_of = [&](int head, int t, int c) {
    double magnitude = 0;
    for (int i = 0; i < inputs; ++i) {
      int const row = head * p.matrices / p.to * inputs + i;
      magnitude += std::abs(value_of(from.head(head * p.heads / p.to + i / p.head_dim)[t][i % p.head_dim]) *
                            value_of(matrices(row, c)));
    }
    double const rounding = std::is_same_v<To, float> ? 0 : std::is_same_v<To, tightkv::half> ? 0x1p-11 : 0x1p-8;
    return 2 * (inputs * 0x1p-24 + rounding) * magnitude;
  };
  std::vector<double> tolerance;
  for (int t = 0; t < p.tokens; ++t) {
    for (int h = 0; h < p.to; ++h) {
      for (int c = 0; c < p.rank; ++c) tolerance.push_back(tolerance_of(h, t, c));
    }
  }
  for (auto const set : instruction_sets()) {
    SCOPED_TRACE(testing::Message() << "instruction set " << static_cast<int>(set));
    auto const fast = projected(tightkv::cpu{}.with(set));
    for (std::size_t i = 0; i < plain.size(); ++i)
      ASSERT_NEAR(value_of(fast[i]), value_of(plain[i]), tolerance[i]) << i;
  }
}

template <class T, class Layout>
void expect_as_plain(projection const& p) {
  int const stride = p.rank + 3;
  expect_as_plain<T, T, Layout>(p, matrices_of(p, stride), stride);
}

template <class T>
struct fast_project_heads : ::testing::Test {};
TYPED_TEST_SUITE(fast_project_heads, elements, element_names);

TYPED_TEST(fast_project_heads, is_the_plain_one) {
  for (auto const& p : cases) expect_as_plain<TypeParam, nhd_layout>(p);
}

TEST(fast_project_heads_of_floats, reads_rows_whose_values_lie_apart) {
  expect_as_plain<float, transposed_layout>({6, 2, 2, 20, 24, 60});
}

// Many rows of bfloat16 by matrices of bfloat16, which some machines multiply in pairs; into floats, which hide no
// rounding. Columns that fill no vector, and a matrix for some of the heads.
constexpr projection of_pairs[] = {{4, 2, 1, 34, 40, 70}, {3, 1, 1, 64, 80, 66}, {2, 2, 2, 16, 5, 65}};

TEST(fast_project_heads_of_bfloat16, are_the_plain_ones_where_matrices_hold_bfloat16) {
  for (auto const& p : of_pairs) {
    int const stride = p.rank + 3;
    auto factors = matrices_of(p, stride);
    for (auto& x : factors) x = static_cast<float>(tightkv::bfloat16(x));
    expect_as_plain<tightkv::bfloat16, float, nhd_layout>(p, factors, stride);
    expect_as_plain<tightkv::bfloat16, float, hnd_layout>(p, factors, stride);
  }
}

TEST(fast_project_heads_of_bfloat16, round_no_matrix) {
  projection const& p = of_pairs[0];
  expect_as_plain<tightkv::bfloat16, float, nhd_layout>(p, matrices_of(p, p.rank), p.rank);
  // One number that is no bfloat16, the last.
  std::vector<float> factors(matrices_of(p, p.rank).size(), 1.0F);
  factors.back() = 1.001F;
  expect_as_plain<tightkv::bfloat16, float, nhd_layout>(p, factors, p.rank);
}

}  // namespace project_heads_test
