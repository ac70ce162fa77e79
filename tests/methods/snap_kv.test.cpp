// SPDX-License-Identifier: Apache-2.0
#include <tightkv/methods/snap_kv.hpp>

#include <support/method_laws.hpp>
#include <support/reference.hpp>

namespace tests {
namespace snap_kv_test {

using tightkv::keep_tokens;
using tightkv::snap_kv;

[[maybe_unused]] bool const laws = obeys_method_laws<snap_kv>("snap_kv");

/// Mean over the window, pool along tokens with zeros outside, mean over the group.
reference::column votes(layer const& l, int h, snap_kv const& m) {
  int const judged = l.tokens() - m.window;
  reference::column mean(static_cast<std::size_t>(l.tokens()));
  for (int q = h * l.group(); q < (h + 1) * l.group(); ++q) {
    auto const mass = reference::mass(l, q, 1, judged);
    for (int t = 0; t < judged; ++t) {
      double sum = 0;
      double most = 0;
      for (int i = std::max(0, t - m.kernel / 2); i <= std::min(judged - 1, t + m.kernel / 2); ++i) {
        double const vote = mass[static_cast<std::size_t>(i)] / m.window;
        sum += vote;
        most = std::max(most, vote);
      }
      double const pooled = m.pooling == tightkv::pooling::average ? sum / m.kernel : most;
      mean[static_cast<std::size_t>(t)] += pooled / l.group();
    }
  }
  return mean;
}

TEST(snap_kv, agrees_with_the_formula) {
  auto const content = random_layer({.kv_heads = 2, .group = 3, .tokens = 90, .head_dim = 80});
  for (auto const pooling : {tightkv::pooling::average, tightkv::pooling::maximum}) {
    for (int const kernel : {1, 5, 7}) {
      snap_kv const method{.window = 16, .kernel = kernel, .pooling = pooling};
      auto const o = decide(method, content);
      for (int h = 0; h < 2; ++h) expect_best(o, h, votes(content, h, method), {0, 74}, 1e-6);
    }
  }
}

/// Eight tokens, the last the window; its query attends as it is told.
layer attended(std::vector<float> const& p) {
  auto l = layer_of(tensor{1, 8, 8}, {}, tensor{1, 8, 8});
  for (int t = 0; t < 8; ++t) {
    l.keys(0, t, t) = 1;
    l.queries(0, 7, t) = std::log(p[static_cast<std::size_t>(t)]) * std::sqrt(8.0F);
  }
  return l;
}

TEST(snap_kv, pools_with_zeros_beyond_both_ends) {
  auto const l = attended({0.5F, 0.01F, 0.02F, 0.03F, 0.04F, 0.1F, 0.2F, 0.1F});
  auto const average = decide(snap_kv{.window = 1, .kernel = 3}, l);
  float const by_hand[] = {0.51F / 3, 0.53F / 3, 0.06F / 3, 0.09F / 3, 0.17F / 3, 0.34F / 3, 0.3F / 3};
  for (int t = 0; t < 7; ++t) EXPECT_NEAR(average.score(0, t), by_hand[t], 1e-6F) << t;
  expect_kept(average, {0, 1, 5, 7});
  auto const maximum = decide(snap_kv{.window = 1, .kernel = 3, .pooling = tightkv::pooling::maximum}, l);
  float const most[] = {0.5F, 0.5F, 0.03F, 0.04F, 0.1F, 0.2F, 0.2F};
  for (int t = 0; t < 7; ++t) EXPECT_NEAR(maximum.score(0, t), most[t], 1e-6F) << t;
}

TEST(snap_kv, uses_only_the_last_window_of_the_queries_it_is_given) {
  auto content = random_layer({.group = 3});
  snap_kv const method{.window = 8};
  auto const expected = decide(method, content);
  for (int q = 0; q < 6; ++q) {
    for (int t = 0; t < 32; ++t) content.queries(q, t, 0) = 100;
  }
  EXPECT_EQ(decide(method, content), expected);
}

TEST(snap_kv, refuses_too_few_queries_even_kernels_and_empty_windows) {
  engine_memory cache(random_layer({}), {}, 30);
  cache.append(10);
  EXPECT_EQ(decide(snap_kv{.window = 10}, cache).plan.after(0), 20);
  EXPECT_THROW(decide(snap_kv{.window = 11}, cache), tightkv::bad_argument);
  EXPECT_THROW(decide(snap_kv{.window = 8, .kernel = 4}, cache), tightkv::bad_argument);
  EXPECT_THROW(decide(snap_kv{.window = 0}, cache), tightkv::bad_argument);
}

}  // namespace snap_kv_test
}  // namespace tests
