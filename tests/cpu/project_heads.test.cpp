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

template <class T, class Layout>
void expect_as_plain(projection const& p) {
  SCOPED_TRACE(testing::Message() << p.heads << " heads of " << p.tokens << " x " << p.head_dim);
  cache<Layout> cached(random_rows<T>({std::vector<int>(static_cast<std::size_t>(p.heads), p.tokens), p.head_dim}, 1));
  auto const from = cached.template plane<T>();
  int const inputs = p.heads / p.to * p.head_dim;
  // Matrices in the left columns of a wider one.
  int const stride = p.rank + 3;
  auto const numbers = random_numbers(static_cast<std::size_t>(p.matrices * inputs * stride), 2);
  std::vector<float> const factors(numbers.begin(), numbers.end());
  tightkv::matrix_view<float const> const matrices{factors.data(), p.matrices * inputs, p.rank, stride};

  auto const projected = [&](auto const& ex) {
    std::vector<T> out(static_cast<std::size_t>(p.to * p.tokens * p.rank));
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
    double const rounding = std::is_same_v<T, float> ? 0 : std::is_same_v<T, tightkv::half> ? 0x1p-11 : 0x1p-8;
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

template <class T>
struct fast_project_heads : ::testing::Test {};
TYPED_TEST_SUITE(fast_project_heads, elements, element_names);

TYPED_TEST(fast_project_heads, is_the_plain_one) {
  for (auto const& p : cases) expect_as_plain<TypeParam, nhd_layout>(p);
}

TEST(fast_project_heads_of_floats, reads_rows_whose_values_lie_apart) {
  expect_as_plain<float, transposed_layout>({6, 2, 2, 20, 24, 60});
}

}  // namespace project_heads_test
