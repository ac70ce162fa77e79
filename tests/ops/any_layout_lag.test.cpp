// SPDX-License-Identifier: Apache-2.0
/// LagKV's scores see neither the layout nor the other heads.
#include <vector>

#include <gtest/gtest.h>

#include <support/any_layout.hpp>
#include <tightkv/ops/lag_scores.hpp>

namespace any_layout_lag_test {

using namespace tests;

template <class T>
struct any_layout_lag : ::testing::Test {};
TYPED_TEST_SUITE(any_layout_lag, elements, element_names);

TYPED_TEST(any_layout_lag, gives_the_same_lag_scores) {
  auto const score = [](auto const& keys, auto const& values, heads const& which, auto out) {
    std::vector<int> const first(which.size(), 3);
    tightkv::lag_scores(tightkv::plain_cpu{}, tightkv::kv_view(keys, values), {.partitions = {first, 4}}, out);
  };
  for (int const head_dim : head_dims) {
    SCOPED_TRACE(head_dim);
    expect_same_in_any_layout<TypeParam>(head_dim, score);
  }
}

}  // namespace any_layout_lag_test
