// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <support/rows.hpp>
#include <tightkv/ops/project_heads.hpp>

namespace project_heads_test {

using namespace tests;
using ::testing::ElementsAre;

/// Two tokens of four heads of two channels.
std::vector<float> const rows{1, 2, 3, 4, /**/ 5, 6, 7, 8, /**/ 1, 0, 0, 1, /**/ 2, 0, 0, 2};

/// [heads][2][rank]
std::vector<float> projected(std::vector<float> const& matrices, int rank, int heads) {
  int const count = static_cast<int>(matrices.size()) / rank;
  std::vector<float> out(static_cast<std::size_t>(2 * rank * heads), -1.0F);
  tightkv::project_heads(tightkv::plain_cpu{}, tightkv::hnd(rows.data(), {4, 2, 2}), {matrices.data(), count, rank},
                         tightkv::hnd(out.data(), {heads, 2, rank}));
  return out;
}

TEST(project_heads, makes_one_head_of_several_by_a_matrix_per_group) {
  // Heads 0 and 1: first channels of both, added. Heads 2 and 3: the second channel of head 3.
  std::vector<float> const matrices{1, 0, 1, 0, /**/ 0, 0, 0, 1};
  EXPECT_THAT(projected(matrices, 1, 2), ElementsAre(6, 10, /**/ 0, 2));
}

TEST(project_heads, uses_one_matrix_for_neighbouring_heads_where_there_are_fewer_matrices) {
  std::vector<float> const matrices{0, 1, 1, 0, /**/ 2, 0, 0, 2};  // heads 0 and 1 swapped, heads 2 and 3 doubled
  EXPECT_THAT(projected(matrices, 2, 4), ElementsAre(2, 1, 4, 3, /**/ 6, 5, 8, 7, /**/ 2, 0, 0, 2, /**/ 4, 0, 0, 4));
}

TEST(project_heads, may_give_wider_rows_than_it_reads) {
  std::vector<float> const matrices{1, 0, 1, 0, 1, 1};
  EXPECT_THAT(projected(matrices, 3, 4),
              ElementsAre(1, 2, 3, 3, 4, 7, /**/ 5, 6, 11, 7, 8, 15, /**/ 1, 0, 1, 0, 1, 1, /**/ 2, 0, 2, 0, 2, 2));
}

template <class T>
struct project_heads_of : ::testing::Test {};
TYPED_TEST_SUITE(project_heads_of, elements, element_names);

TYPED_TEST(project_heads_of, random_rows_is_their_product_in_double_rounded) {
  constexpr int dim = 33;
  constexpr int rank = 20;
  tests::rows const logical = random_rows<TypeParam>({{11, 11, 11, 11, 11, 11}, dim}, 3);
  cache<nhd_layout> keys(logical);
  auto const factors = random_numbers(3 * 2 * dim * rank, 4);
  std::vector<float> const matrices(factors.begin(), factors.end());
  std::vector<TypeParam> out(3 * 11 * rank);
  auto const to = tightkv::hnd(out.data(), {3, 11, rank});
  auto const backwards = [](int n, auto&& f) {
    for (int i = n - 1; i >= 0; --i) f(i);
  };
  tightkv::project_heads(tightkv::basic_cpu{backwards}, keys.plane<TypeParam>(), {matrices.data(), 3 * 2 * dim, rank},
                         to);
  double const rounding = sizeof(TypeParam) == 4 ? 0 : std::is_same_v<TypeParam, tightkv::half> ? 0x1p-11 : 0x1p-8;
  for (int o = 0; o < 3; ++o) {
    for (int t = 0; t < 11; ++t) {
      for (int r = 0; r < rank; ++r) {
        double want = 0;
        double size = 0;
        for (int i = 0; i < 2 * dim; ++i) {
          double const x = value_of(logical.get<TypeParam>(2 * o + i / dim, t, i % dim)) *
                           static_cast<double>(matrices[static_cast<std::size_t>((o * 2 * dim + i) * rank + r)]);
          want += x;
          size += std::abs(x);
        }
        ASSERT_NEAR(value_of(to.head(o)[t][r]), want, rounding * std::abs(want) + 2 * dim * 0x1p-24 * size);
      }
    }
  }
}

TEST(project_heads, of_no_tokens_or_no_heads_is_nothing) {
  std::vector<float> const matrix{1, 0, 0, 1};
  tightkv::project_heads(tightkv::plain_cpu{}, tightkv::hnd(rows.data(), {1, 0, 2}), {matrix.data(), 2, 2},
                         tightkv::hnd(static_cast<float*>(nullptr), {1, 0, 2}));
  tightkv::project_heads(tightkv::plain_cpu{}, tightkv::hnd(rows.data(), {0, 2, 2}), {matrix.data(), 2, 2},
                         tightkv::hnd(static_cast<float*>(nullptr), {0, 2, 2}));
}

TEST(project_heads, refuses_what_does_not_fit) {
  EXPECT_THROW(projected({1, 0, 1}, 1, 2), tightkv::bad_argument);               // 3 rows for groups of 4 channels
  EXPECT_THROW(projected(std::vector<float>(12), 1, 2), tightkv::bad_argument);  // 3 matrices for 2 heads
  EXPECT_THROW(projected(std::vector<float>(8), 1, 3), tightkv::bad_argument);   // 4 heads into 3
  EXPECT_THROW(projected({}, 1, 2), tightkv::bad_argument);
  std::vector<float> out(12);
  std::vector<float> const matrix(8);
  EXPECT_THROW(tightkv::project_heads(tightkv::plain_cpu{}, tightkv::hnd(rows.data(), {4, 2, 2}), {matrix.data(), 8, 1},
                                      tightkv::hnd(out.data(), {2, 1, 1})),
               tightkv::bad_argument);  // another number of tokens
  EXPECT_THROW(tightkv::project_heads(tightkv::plain_cpu{}, tightkv::hnd(rows.data(), {4, 2, 2}), {matrix.data(), 8, 1},
                                      tightkv::hnd(out.data(), {2, 2, 2})),
               tightkv::bad_argument);  // rows of two channels, matrices of one column
  tightkv::matrix_view<float const> const null{nullptr, 8, 1};
  EXPECT_THROW(tightkv::project_heads(tightkv::plain_cpu{}, tightkv::hnd(rows.data(), {4, 2, 2}), null,
                                      tightkv::hnd(out.data(), {2, 2, 1})),
               tightkv::bad_argument);
}

}  // namespace project_heads_test
