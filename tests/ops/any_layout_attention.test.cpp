// SPDX-License-Identifier: Apache-2.0
/// Attention sees neither the layout of the keys nor the other heads.
#include <vector>

#include <gtest/gtest.h>

#include <support/any_layout.hpp>
#include <support/queries.hpp>
#include <tightkv/ops/attention_mass.hpp>
#include <tightkv/ops/window_attention.hpp>

namespace any_layout_attention_test {

using namespace tests;

template <class T>
struct any_layout_attention : ::testing::Test {};
TYPED_TEST_SUITE(any_layout_attention, elements, element_names);

TYPED_TEST(any_layout_attention, gives_the_same_attention) {
  using T = TypeParam;
  for (int const head_dim : head_dims) {
    for (int const group : gqa_groups) {
      SCOPED_TRACE(head_dim);
      SCOPED_TRACE(group);
      auto const all_queries = random_rows<T>({std::vector<int>(static_cast<std::size_t>(4 * group), 5), head_dim}, 3);
      // Of each head, the mass and one row per query head of the window's attention.
      auto const score = [&](auto const& keys, auto const&, heads const& which, auto out) {
        cache<hnd_layout> queries(queries_of(all_queries, which, group));
        tightkv::kv_view const view(keys, tightkv::absent{}, queries.plane<T>());
        tightkv::matrix<float> window(static_cast<int>(which.size()) * group, out.cols);
        tightkv::window_attention(tightkv::plain_cpu{}, view, 3, window.view());
        spread(window, group, out);
        tightkv::attention_mass(tightkv::plain_cpu{}, view, std::vector<int>(which.size(), 4),
                                {out.data, out.rows / (group + 1), out.cols, out.stride * (group + 1)});
      };
      expect_same_in_any_layout<T>(head_dim, score, group + 1);
    }
  }
}

}  // namespace any_layout_attention_test
