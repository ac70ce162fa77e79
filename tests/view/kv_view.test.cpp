// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/view/kv_view.hpp>
#include <tightkv/view/layouts.hpp>

namespace kv_view_test {

using tightkv::absent;
using tightkv::kv_view;

template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (tightkv::bad_argument const& e) {
    return e.what();
  }
  return "nothing was refused";
}

float data[256];
auto plane(tightkv::kv_shape const& s) { return tightkv::hnd(static_cast<float const*>(data), s); }

TEST(kv_view, is_what_its_planes_are) {
  kv_view const view(plane({2, 3, 4}), plane({2, 3, 6}), plane({4, 2, 4}));
  EXPECT_EQ(view.heads(), 2);
  EXPECT_EQ(view.heads_per_layer(), 2);
  EXPECT_EQ(view.tokens(1), 3);
  EXPECT_EQ(tightkv::group_size(view), 2);
}

TEST(kv_view, models_what_it_has) {
  kv_view const keys_only(plane({2, 3, 4}));
  kv_view const with_values(plane({2, 3, 4}), plane({2, 3, 4}));
  kv_view const without_values(plane({2, 3, 4}), absent{}, plane({2, 3, 4}));
  std::byte codes[24];
  kv_view const with_opaque_values(plane({2, 3, 4}), tightkv::hnd(codes, {2, 3, 4}));
  static_assert(tightkv::view_with_keys<decltype(keys_only)> && !tightkv::view_with_values<decltype(keys_only)>);
  static_assert(tightkv::view_with_values<decltype(with_values)>);
  static_assert(!tightkv::view_with_queries<decltype(with_values)>);
  static_assert(tightkv::view_with_queries<decltype(without_values)>);
  static_assert(!tightkv::view_with_values<decltype(with_opaque_values)>);
  tightkv::matrix_view<float const> const lse{data, 2, 3};
  kv_view const with_lse(plane({2, 3, 4}), absent{}, plane({2, 3, 4}), lse);
  static_assert(tightkv::view_with_row_lse<decltype(with_lse)>);
  static_assert(!tightkv::view_with_row_lse<decltype(without_values)>);
}

TEST(kv_view, refuses_values_of_other_heads_or_tokens) {
  EXPECT_EQ(refusal([] {
              kv_view(plane({2, 3, 4}), plane({1, 3, 4}));
            }),
            "tightkv::kv_view: keys and values must have the same number of heads (got keys = 2, values = 1)");
  EXPECT_EQ(refusal([] {
              kv_view(plane({2, 3, 4}), plane({2, 2, 4}));
            }),
            "tightkv::kv_view: keys and values must have the same number of tokens (got keys = 3, values = 2)");
  int const lengths[] = {3, 2};
  EXPECT_THROW(kv_view(plane({2, 3, 4}).with_lengths(lengths), plane({2, 3, 4})), tightkv::bad_argument);
}

TEST(kv_view, refuses_queries_that_do_not_fit_the_keys) {
  EXPECT_EQ(refusal([] {
              kv_view(plane({2, 3, 4}), absent{}, plane({2, 3, 2}));
            }),
            "tightkv::kv_view: queries and keys must have the same head_dim (got queries = 2, keys = 4)");
  EXPECT_EQ(refusal([] {
              kv_view(plane({2, 3, 4}), absent{}, plane({3, 3, 4}));
            }),
            "tightkv::kv_view: query heads must be a multiple of KV heads (got query_heads = 3, kv_heads = 2)");
  EXPECT_THROW(kv_view(plane({2, 3, 4}), absent{}, plane({1, 3, 4})), tightkv::bad_argument);
  EXPECT_THROW(kv_view(plane({2, 3, 4}), absent{}, plane({0, 3, 4})), tightkv::bad_argument);
  EXPECT_THROW(kv_view(plane({0, 3, 4}), absent{}, plane({2, 3, 4})), tightkv::bad_argument);
  EXPECT_EQ(refusal([] {
              kv_view(plane({2, 3, 4}), absent{}, plane({4, 4, 4}));
            }),
            "tightkv::kv_view: there cannot be more queries than tokens (got queries = 4, tokens = 3)");
  int const lengths[] = {3, 1};  // head 1 belongs to query heads 2 and 3
  EXPECT_THROW(kv_view(plane({2, 3, 4}).with_lengths(lengths), absent{}, plane({4, 2, 4})), tightkv::bad_argument);
}

TEST(kv_view, refuses_row_lse_of_another_shape) {
  auto const with = [](tightkv::matrix_view<float const> lse) {
    kv_view(plane({2, 3, 4}), absent{}, plane({4, 2, 4}), lse);
  };
  EXPECT_NO_THROW(with({data, 4, 2}));
  EXPECT_NO_THROW(with({data, 4, 3}));
  EXPECT_THROW(with({data, 4, 1}), tightkv::bad_argument);
  EXPECT_EQ(refusal([&] {
              with({data, 2, 2});
            }),
            "tightkv::kv_view: row_lse must be query heads x queries (got rows = 2, cols = 2)");
}

TEST(kv_view, may_be_empty) {
  auto const none = tightkv::hnd(static_cast<float const*>(nullptr), {2, 0, 4});
  EXPECT_NO_THROW(kv_view(none, none, none));
  auto const no_heads = tightkv::hnd(static_cast<float const*>(nullptr), {0, 0, 4});
  kv_view const view(no_heads, no_heads, no_heads);
  EXPECT_EQ(tightkv::group_size(view), 1);
}

}  // namespace kv_view_test
