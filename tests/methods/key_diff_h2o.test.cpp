// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/key_diff_h2o.hpp>

#include <support/method_laws.hpp>
#include <support/reference.hpp>

namespace tests {
namespace key_diff_h2o_test {

using tightkv::key_diff_h2o;

[[maybe_unused]] bool const laws = obeys_method_laws<key_diff_h2o>("key_diff_h2o");

TEST(key_diff_h2o, takes_the_better_of_the_two_ranks_among_unprotected_tokens) {
  constexpr int tokens = 70;
  constexpr tightkv::token_range judged{3, 65};
  auto const content = random_layer({.kv_heads = 2, .group = 3, .tokens = tokens, .head_dim = 80});
  auto const o = decide(key_diff_h2o{.budget = tightkv::keep_ratio{0.4}, .sink = 3, .recent = 5}, content);
  for (int h = 0; h < 2; ++h) {
    auto const distinct = reference::minus_cosine(content.keys, h);
    auto heavy = reference::mass(content, 3 * h, 3, 0);
    for (int t = 0; t < tokens; ++t) heavy[static_cast<std::size_t>(t)] /= tokens - t;
    reference::column best(static_cast<std::size_t>(tokens));
    for (int t = judged.begin; t < judged.end; ++t) {
      best[static_cast<std::size_t>(t)] = std::max(reference::rank(distinct, t, judged.begin, judged.end),
                                                   reference::rank(heavy, t, judged.begin, judged.end));
    }
    expect_best(o, h, best, judged, 0.0);
  }
}

TEST(key_diff_h2o, keeps_the_best_of_either_judge) {
  auto const content = random_layer({.kv_heads = 1, .group = 3, .tokens = 60, .head_dim = 16});
  auto const o = decide(key_diff_h2o{.budget = tightkv::keep_tokens{2}}, content);
  auto const distinct = reference::minus_cosine(content.keys, 0);
  auto heavy = reference::mass(content, 0, 3, 0);
  for (int t = 0; t < 60; ++t) heavy[static_cast<std::size_t>(t)] /= 60 - t;
  auto const first_of = [](auto const& s) {
    return static_cast<int>(std::max_element(s.begin(), s.end()) - s.begin());
  };
  std::vector<int> both{first_of(distinct), first_of(heavy)};
  std::sort(both.begin(), both.end());
  expect_kept(o, both);
}

}  // namespace key_diff_h2o_test
}  // namespace tests
