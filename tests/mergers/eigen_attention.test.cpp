// SPDX-License-Identifier: Apache-2.0
/// Attention through Eigen is the plain one within the error that `cpu` has, and a method may run on `eigen_cpu`.
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <tightkv/core/thread_pool.hpp>
#include <tightkv/cpu/eigen_attention.hpp>
#include <tightkv/methods/compress.hpp>
#include <tightkv/methods/snap_kv.hpp>

namespace eigen_attention_test {

using namespace tests;

constexpr int head_count = 2;
constexpr int group = 2;
constexpr double tolerance = 4e-6;  // of each value

template <class V, class E>
tightkv::matrix<float> mass_on(E const& ex, V const& view, int tokens, int queries) {
  tightkv::matrix<float> out(head_count, tokens, 0.25F);
  tightkv::attention_mass(ex, view, std::vector<int>(head_count, queries), out.view());
  return out;
}
template <class V, class E>
tightkv::matrix<float> window_on(E const& ex, V const& view, int tokens, int window) {
  tightkv::matrix<float> out(head_count * group, tokens);
  tightkv::window_attention(ex, view, window, out.view());
  return out;
}

void expect_near(tightkv::matrix<float> const& got, tightkv::matrix<float> const& want) {
  for (int h = 0; h < want.rows(); ++h) {
    for (int t = 0; t < want.cols(); ++t) {
      auto const a = static_cast<double>(got(h, t));
      auto const b = static_cast<double>(want(h, t));
      ASSERT_TRUE((std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= tolerance * std::abs(b))
          << "head " << h << ", token " << t << ": " << a << ", plain " << b;
    }
  }
}

struct attention_case {
  int tokens;
  int queries;
  int head_dim;
};

TEST(eigen_attention, is_the_plain_one) {
  tightkv::thread_pool pool(3);
  tightkv::basic_eigen_cpu const threads(tightkv::on_pool{pool});
  for (auto const& c : {attention_case{50, 1, 80}, {97, 97, 64}, {130, 20, 7}, {300, 65, 100}}) {
    for (bool const damaged : {false, true}) {
      SCOPED_TRACE(testing::Message() << c.queries << " queries, " << c.tokens << " x " << c.head_dim);
      auto k = random_rows<tightkv::half>({std::vector<int>(head_count, c.tokens), c.head_dim}, 1);
      auto q = random_rows<tightkv::half>({std::vector<int>(head_count * group, c.queries), c.head_dim}, 2);
      if (damaged) {
        k.set(0, c.tokens / 2, c.head_dim - 1, element<tightkv::half>(std::numeric_limits<double>::quiet_NaN()));
        q.set(1, c.queries / 2, 0, element<tightkv::half>(std::numeric_limits<double>::infinity()));
      }
      cache<paged_hnd_layout> keys(k);
      cache<hnd_layout> queries(q);
      tightkv::kv_view const view(keys.plane<tightkv::half>(), tightkv::absent{}, queries.plane<tightkv::half>());
      auto const mass = mass_on(tightkv::plain_cpu{}, view, c.tokens, c.queries);
      expect_near(mass_on(tightkv::eigen_cpu{}, view, c.tokens, c.queries), mass);
      expect_near(mass_on(threads, view, c.tokens, c.queries), mass);
      expect_near(window_on(tightkv::eigen_cpu{}, view, c.tokens, c.queries),
                  window_on(tightkv::plain_cpu{}, view, c.tokens, c.queries));
    }
  }
}

TEST(eigen_attention, serves_methods_as_cpu_does) {
  cache<hnd_layout> keys(random_rows<float>({std::vector<int>(head_count, 200), 64}, 3));
  cache<hnd_layout> queries(random_rows<float>({std::vector<int>(head_count * group, 64), 64}, 4));
  tightkv::kv_view const view(keys.plane<float>(), keys.plane<float>(), queries.plane<float>());
  tightkv::snap_kv const method{.budget = tightkv::keep_tokens{100}};
  auto const plan = tightkv::decide(tightkv::eigen_cpu{}, method, view).plan;
  EXPECT_EQ(plan, tightkv::decide(tightkv::cpu{}, method, view).plan);
  EXPECT_EQ(plan.after(0), 100);
}

}  // namespace eigen_attention_test
