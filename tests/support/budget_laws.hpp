// SPDX-License-Identifier: Apache-2.0
/// What is true of every budget. A budget inherits all of it in one line:
///
///     INSTANTIATE_TYPED_TEST_SUITE_P(keep_tokens, budget_laws, tightkv::keep_tokens);
#pragma once

#include <algorithm>

#include <gtest/gtest.h>

#include <tightkv/budgets/budget.hpp>

namespace tests {

/// How a test makes a budget of some size, from a part of 100 tokens.
template <class B>
B budget_of(int percent);

template <tightkv::budget_policy B>
class budget_laws : public ::testing::Test {
 public:
  /// What stays of each of many caches, all of 8 bytes a token.
  template <class F>
  static void each(F const& f) {
    for (int const percent : {1, 29, 50, 57, 100}) {
      for (int const tokens : {0, 1, 2, 7, 99, 100, 101, 4096}) {
        for (int const protected_count : {0, 1}) {
          tightkv::cache_size const size{.tokens = tokens, .protected_count = protected_count, .bytes_per_token = 8};
          f(budget_of<B>(percent), size);
        }
      }
    }
  }
};
TYPED_TEST_SUITE_P(budget_laws);

TYPED_TEST_P(budget_laws, keeps_no_more_than_there_is_and_no_less_than_is_protected) {
  this->each([](TypeParam const& b, tightkv::cache_size const& size) {
    EXPECT_LE(b.tokens(size), size.tokens);
    EXPECT_GE(b.tokens(size), std::min(size.tokens, size.protected_count));
  });
}
TYPED_TEST_P(budget_laws, keeps_its_limit_where_there_is_enough) {
  this->each([](TypeParam const& b, tightkv::cache_size const& size) {
    EXPECT_EQ(b.tokens(size), std::min(size.tokens, b.limit(size)));
  });
}
TYPED_TEST_P(budget_laws, does_not_shrink_as_the_cache_grows) {
  this->each([](TypeParam const& b, tightkv::cache_size size) {
    int const kept = b.tokens(size);
    ++size.tokens;
    EXPECT_GE(b.tokens(size), kept);
  });
}
TYPED_TEST_P(budget_laws, is_the_same_as_one_of_several) {
  this->each([](TypeParam const& b, tightkv::cache_size const& size) {
    EXPECT_EQ(tightkv::tokens(tightkv::budget{b}, size), b.tokens(size));
    EXPECT_EQ(tightkv::limit(tightkv::budget{b}, size), b.limit(size));
    EXPECT_NO_THROW(tightkv::check(tightkv::budget{b}));
  });
}

REGISTER_TYPED_TEST_SUITE_P(budget_laws, keeps_no_more_than_there_is_and_no_less_than_is_protected,
                            keeps_its_limit_where_there_is_enough, does_not_shrink_as_the_cache_grows,
                            is_the_same_as_one_of_several);

}  // namespace tests
