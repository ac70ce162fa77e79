// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/streaming_llm.hpp>

#include <numeric>

#include <support/method_laws.hpp>

namespace tests {

template <>
struct method_case<tightkv::streaming_llm> : method_facts<tightkv::streaming_llm> {
  static constexpr bool reads_rows = false;
};

namespace streaming_llm_test {

using tightkv::keep_tokens;
using tightkv::streaming_llm;

[[maybe_unused]] bool const laws = obeys_method_laws<streaming_llm>("streaming_llm");

TEST(streaming_llm, keeps_the_sinks_and_the_newest) {
  auto const ten = random_layer({.kv_heads = 1, .tokens = 10, .head_dim = 2});
  expect_kept(decide(streaming_llm{.budget = keep_tokens{6}}, ten), {0, 1, 2, 3, 8, 9});
  expect_kept(decide(streaming_llm{.budget = keep_tokens{4}}, ten), {0, 1, 2, 3});
  expect_kept(decide(streaming_llm{.sink = 0}, ten), {5, 6, 7, 8, 9});
  EXPECT_TRUE(decide(streaming_llm{}, ten).scores.empty());
}

TEST(streaming_llm, slides_for_ever) {
  engine_memory cache(random_layer({.tokens = 100, .head_dim = 2}), {}, 30);
  streaming_llm const method{.budget = keep_tokens{20}};
  streaming_llm::state state;
  for (int n = 30; n <= 100; ++n) {
    compress(method, cache, state);
    std::vector<int> expected(20);
    std::iota(expected.begin(), expected.begin() + 4, 0);
    std::iota(expected.begin() + 4, expected.end(), n - 16);
    expect_tokens(cache.positions(1), expected);
    if (n < 100) cache.append(1);
  }
}

}  // namespace streaming_llm_test
}  // namespace tests
