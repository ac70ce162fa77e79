// SPDX-License-Identifier: Apache-2.0
/// Attention on the device is that of the CPU up to the rounding of another order of summation.
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "device.hpp"

#include <support/queries.hpp>
#include <tightkv/cuda/attention_mass.cuh>
#include <tightkv/cuda/window_attention.cuh>

namespace attention_test {

using namespace tests;

/// Relative, beside a sum of at most a few thousand weights that are each at most 1.
constexpr double tolerance = 2e-5;

[[gnu::noinline]] void expect_near(tightkv::matrix<float> const& got, tightkv::matrix<float> const& want) {
  for (int h = 0; h < got.rows(); ++h) {
    for (int t = 0; t < got.cols(); ++t) {
      double const x = static_cast<double>(got(h, t));
      double const y = static_cast<double>(want(h, t));
      ASSERT_EQ(std::isnan(x), std::isnan(y)) << "head " << h << ", token " << t;
      if (std::isnan(y)) continue;
      ASSERT_NEAR(x, y, tolerance * std::fabs(y) + 1e-9) << "head " << h << ", token " << t;
    }
  }
}

template <class Layout, class T>
void expect_same_attention(int head_dim, int group) {
  SCOPED_TRACE(testing::Message() << Layout::name << ", head_dim " << head_dim << ", group " << group);
  constexpr int count = 9;  // queries
  auto const e = usual_extents(Layout::varied, head_dim);
  auto keys = troubled_rows<T>(e, 1);
  // Where products overflow, it is the order of summation that says whether a logit is finite: no promise is made
  // there.
  for (int d = 0; d < head_dim; ++d) keys.template set<T>(2, 9, d, element<T>(d % 2 == 0 ? 3.0 : -3.0));
  auto const queries = random_rows<T>({std::vector<int>(static_cast<std::size_t>(4 * group), count), head_dim}, 3);
  auto const both = [&](auto const& ex, auto const& k, auto const& q, auto window, auto mass) {
    tightkv::kv_view const view(k, tightkv::absent{}, q);
    tightkv::window_attention(ex, view, 5, window);
    tightkv::attention_mass(ex, view, std::vector<int>{9, 0, 1, 8}, mass);
  };
  cache<Layout> k(keys);
  cache<hnd_layout> q(queries);
  tightkv::matrix<float> window(4 * group, e.longest(), 0.0F);
  tightkv::matrix<float> mass(4, e.longest(), 0.5F);
  tightkv::matrix<float> const zeros = window;
  tightkv::matrix<float> const halves = mass;
  both(plain{}, k.template plane<T>(), q.template plane<T>(), window.view(), mass.view());
  for_each_seed([&](unsigned seed) {
    tightkv::cuda const ex{};
    device_cache<Layout> dk(keys);
    device_cache<hnd_layout> dq(queries);
    auto device_window = on_device(ex, zeros);
    auto device_mass = on_device(ex, halves);
    both(ex, dk.template plane<T>(), dq.template plane<T>(), device_window.view(), device_mass.view());
    expect_near(to_host(ex, device_window), window);
    expect_near(to_host(ex, device_mass), mass);
    for (auto const* const op : {"window_attention", "attention_mass"}) {
      comparisons::all().add(op, Layout::name, element_names::GetName<T>(0), head_dim, seed);
    }
  });
}

TEST(cuda_attention, is_that_of_the_cpu) {
  expect_same_attention<hnd_layout, float>(128, 1);
  expect_same_attention<paged_hnd_layout, tightkv::half>(80, 3);
  expect_same_attention<transposed_layout, tightkv::bfloat16>(64, 3);
  expect_same_attention<batch_layout, tightkv::half>(64, 1);
}

}  // namespace attention_test
