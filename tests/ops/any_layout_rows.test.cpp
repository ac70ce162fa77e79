// SPDX-License-Identifier: Apache-2.0
/// Ops on the rows of one plane see neither the layout nor the other heads.
#include <gtest/gtest.h>

#include <support/any_layout.hpp>
#include <tightkv/ops/mean_cosine.hpp>
#include <tightkv/ops/row_norms.hpp>

namespace {

using namespace tests;

template <class T>
struct any_layout_rows : ::testing::Test {};
TYPED_TEST_SUITE(any_layout_rows, elements, element_names);

TYPED_TEST(any_layout_rows, row_norms_and_mean_cosine_do_not_see_it) {
  for (int const head_dim : head_dims) {
    SCOPED_TRACE(head_dim);
    in_every_layout<TypeParam> caches(head_dim);
    expect_same_in_any_layout(caches, [](auto const& keys, auto const&, auto const&, auto out) {
      tightkv::row_norms(tightkv::cpu{}, keys, -1.0F, out);
    });
    expect_same_in_any_layout(caches, [](auto const& keys, auto const&, auto const&, auto out) {
      tightkv::mean_cosine(tightkv::cpu{}, keys, -1.0F, out);
    });
  }
}

}  // namespace
