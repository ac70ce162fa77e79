// SPDX-License-Identifier: Apache-2.0
/// Ops on the rows of one plane see neither the layout nor the other heads.
#include <gtest/gtest.h>

#include <support/any_layout.hpp>
#include <tightkv/ops/mean_cosine.hpp>
#include <tightkv/ops/row_norms.hpp>

namespace any_layout_rows_test {

using namespace tests;

template <class T>
struct any_layout_rows : ::testing::Test {};
TYPED_TEST_SUITE(any_layout_rows, elements, element_names);

TYPED_TEST(any_layout_rows, gives_the_same_row_norms_and_cosines) {
  auto const both = [](auto const& keys, auto const&, auto const&, auto out) {
    // Even rows of the result are norms, odd rows are cosines.
    auto const half = [&](int i) {
      return tightkv::matrix_view<float>{out.row(i), out.rows / 2, out.cols, 2 * out.stride};
    };
    tightkv::row_norms(tightkv::plain_cpu{}, keys, -1.0F, half(0));
    tightkv::mean_cosine(tightkv::plain_cpu{}, keys, 0.5F, half(1));
  };
  for (int const head_dim : head_dims) {
    SCOPED_TRACE(head_dim);
    expect_same_in_any_layout<TypeParam>(head_dim, both, 2);
  }
}

}  // namespace any_layout_rows_test
