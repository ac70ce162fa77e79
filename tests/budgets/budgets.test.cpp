// SPDX-License-Identifier: Apache-2.0
#include <tightkv/budgets/budget.hpp>

#include <cmath>
#include <limits>
#include <string>

#include <support/budget_laws.hpp>

namespace tests {

using tightkv::keep_bytes;
using tightkv::keep_ratio;
using tightkv::keep_tokens;

template <>
keep_ratio budget_of(int percent) {
  return {percent / 100.0};
}
template <>
keep_tokens budget_of(int percent) {
  return {percent};
}
template <>
keep_bytes budget_of(int percent) {
  return {8 * percent + 7};
}

INSTANTIATE_TYPED_TEST_SUITE_P(keep_ratio, budget_laws, keep_ratio);
INSTANTIATE_TYPED_TEST_SUITE_P(keep_tokens, budget_laws, keep_tokens);
INSTANTIATE_TYPED_TEST_SUITE_P(keep_bytes, budget_laws, keep_bytes);

namespace {

template <class F>
std::string message_of(F const& f) {
  try {
    f();
  } catch (tightkv::bad_argument const& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(keep_ratio, truncates_the_product_in_double) {
  EXPECT_EQ(keep_ratio{0.29}.tokens({.tokens = 100}), 28);  // 29 in float
  EXPECT_EQ(keep_ratio{0.57}.tokens({.tokens = 100}), 56);
  EXPECT_EQ(keep_ratio{0.56}.tokens({.tokens = 100}), 56);  // a ceiling would be 57
  EXPECT_EQ(keep_ratio{1 - 0.9}.tokens({.tokens = 10}), 0);
  EXPECT_EQ(keep_ratio{1 - 0.9}.tokens({.tokens = 100}), 9);
  EXPECT_EQ(keep_ratio{1 - 0.9}.tokens({.tokens = 4096}), 409);
  EXPECT_EQ(keep_ratio{0.55}.tokens({.tokens = 4}), 2);
  EXPECT_EQ(keep_ratio{1}.tokens({.tokens = std::numeric_limits<int>::max()}), std::numeric_limits<int>::max());
  EXPECT_EQ(keep_ratio{}.tokens({.tokens = 7}), 3);
}

TEST(keep_ratio, gives_way_to_what_is_protected) {
  EXPECT_EQ(keep_ratio{0.1}.tokens({.tokens = 100, .protected_count = 20}), 20);
  EXPECT_EQ(keep_ratio{0.1}.tokens({.tokens = 15, .protected_count = 20}), 15);
}

TEST(keep_ratio, must_be_a_fraction) {
  for (double const wrong : {0.0, -0.1, 1.0000001, 2.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_THROW(keep_ratio{wrong}.check(), tightkv::bad_argument) << wrong;
    EXPECT_THROW((void)keep_ratio{wrong}.tokens({.tokens = 10}), tightkv::bad_argument) << wrong;
    EXPECT_THROW(tightkv::check(tightkv::budget{keep_ratio{wrong}}), tightkv::bad_argument) << wrong;
  }
  EXPECT_EQ(message_of([] { keep_ratio{2}.check(); }), "tightkv::keep_ratio: must be in (0, 1] (got keep_ratio = 2)");
}

TEST(keep_tokens, is_a_number_of_tokens_or_all_of_them) {
  EXPECT_EQ(keep_tokens{10}.tokens({.tokens = 100, .protected_count = 10}), 10);
  EXPECT_EQ(keep_tokens{10}.tokens({.tokens = 7}), 7);
  EXPECT_EQ(keep_tokens{std::numeric_limits<int>::max()}.tokens({.tokens = 7}), 7);
}

TEST(keep_tokens, must_hold_at_least_what_is_protected) {
  EXPECT_THROW(keep_tokens{0}.check(), tightkv::bad_argument);
  EXPECT_THROW(keep_tokens{-3}.check(), tightkv::bad_argument);
  EXPECT_EQ(
      message_of([] { (void)keep_tokens{3}.tokens({.tokens = 9, .protected_count = 4}); }),
      "tightkv::keep_tokens: must be at least the number of protected tokens (got keep_tokens = 3, protected = 4)");
}

TEST(keep_bytes, is_as_many_tokens_as_fit) {
  EXPECT_EQ(keep_bytes{1023}.tokens({.tokens = 100, .bytes_per_token = 16}), 63);
  EXPECT_EQ(keep_bytes{1024}.tokens({.tokens = 100, .bytes_per_token = 16}), 64);
  EXPECT_EQ(keep_bytes{1024}.tokens({.tokens = 30, .bytes_per_token = 16}), 30);
  EXPECT_EQ(keep_bytes{15}.tokens({.tokens = 30, .bytes_per_token = 16}), 0);
  EXPECT_EQ(keep_bytes{std::numeric_limits<std::ptrdiff_t>::max()}.tokens({.tokens = 30, .bytes_per_token = 1}), 30);
}

TEST(keep_bytes, must_hold_at_least_what_is_protected) {
  EXPECT_THROW(keep_bytes{0}.check(), tightkv::bad_argument);
  EXPECT_THROW((void)keep_bytes{100}.tokens({.tokens = 30}), tightkv::bad_argument) << "bytes of a token unknown";
  EXPECT_THROW((void)keep_bytes{63}.tokens({.tokens = 30, .protected_count = 4, .bytes_per_token = 16}),
               tightkv::bad_argument);
  EXPECT_EQ(keep_bytes{64}.tokens({.tokens = 30, .protected_count = 4, .bytes_per_token = 16}), 4);
}

}  // namespace
}  // namespace tests
