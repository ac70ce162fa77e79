// SPDX-License-Identifier: Apache-2.0
/// Fast attention is the plain one within a few units in the last place of the largest sum, and NaN where that is.
#include <support/unoptimised.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/instruction_sets.hpp>
#include <support/layouts.hpp>
#include <tightkv/ops/attention_mass.hpp>
#include <tightkv/ops/window_attention.hpp>

namespace attention_test {

using namespace tests;

constexpr int head_count = 2;
constexpr int group = 3;
constexpr double tolerance = 4e-6;  // of each value

struct attention_case {
  int tokens;
  int queries;
  int head_dim;
};
// Few and many queries, keys that fill no tile, one query more than a block has, a head that hides most tokens.
constexpr attention_case cases[] = {{1, 1, 64}, {50, 1, 80}, {70, 5, 128}, {130, 6, 7}, {97, 97, 64}, {600, 65, 100}};

void expect_near_plain(tightkv::matrix<float> const& fast, tightkv::matrix<float> const& plain, double error) {
  for (int h = 0; h < plain.rows(); ++h) {
    for (int t = 0; t < plain.cols(); ++t) {
      auto const a = static_cast<double>(fast(h, t));
      auto const b = static_cast<double>(plain(h, t));
      ASSERT_TRUE((std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= error * std::abs(b))
          << "head " << h << ", token " << t << ": " << a << ", plain " << b;
    }
  }
}

template <class V>
void expect_as_plain(V const& view, int tokens, int queries, double error = tolerance) {
  auto const mass = [&](auto const& ex, int last) {
    std::vector<int> const of_each_head(head_count, last);
    tightkv::matrix<float> out(head_count, tokens, 0.25F);
    tightkv::attention_mass(ex, view, of_each_head, out.view());
    return out;
  };
  auto const window = [&](auto const& ex) {
    tightkv::matrix<float> out(head_count * group, tokens);
    tightkv::window_attention(ex, view, std::max(1, queries - 1), out.view());
    return out;
  };
  auto const plain_mass = mass(tightkv::plain_cpu{}, queries);
  auto const plain_of_none = mass(tightkv::plain_cpu{}, 0);  // where nothing was appended
  auto const plain_window = window(tightkv::plain_cpu{});
  for (auto const set : instruction_sets()) {
    SCOPED_TRACE(testing::Message() << "instruction set " << static_cast<int>(set));
    expect_near_plain(mass(tightkv::cpu{}.with(set), queries), plain_mass, error);
    expect_near_plain(mass(tightkv::cpu{}.with(set), 0), plain_of_none, error);
    expect_near_plain(window(tightkv::cpu{}.with(set)), plain_window, error);
  }
}

template <class T>
struct fast_attention : ::testing::Test {};
TYPED_TEST_SUITE(fast_attention, elements, element_names);

TYPED_TEST(fast_attention, is_the_plain_one) {
  for (auto const& c : cases) {
    for (bool const damaged : {false, true}) {
      SCOPED_TRACE(testing::Message() << c.queries << " queries, " << c.tokens << " x " << c.head_dim);
      auto k = random_rows<TypeParam>({std::vector<int>(head_count, c.tokens), c.head_dim}, 1);
      auto q = random_rows<TypeParam>({std::vector<int>(head_count * group, c.queries), c.head_dim}, 2);
      if (damaged) {
        k.set(0, c.tokens / 2, c.head_dim - 1, element<TypeParam>(std::numeric_limits<double>::quiet_NaN()));
        k.set(1, c.tokens - 1, 0, element<TypeParam>(-std::numeric_limits<double>::infinity()));
        q.set(1, c.queries / 2, 0, element<TypeParam>(std::numeric_limits<double>::infinity()));
      }
      cache<hnd_layout> keys(k);
      cache<hnd_layout> queries(q);
      tightkv::kv_view const view(keys.plane<TypeParam>(), tightkv::absent{}, queries.plane<TypeParam>());
      expect_as_plain(view, c.tokens, c.queries);
    }
  }
}

TEST(fast_attention_with_row_lse, is_the_plain_one) {
  for (auto const& c : cases) {
    cache<hnd_layout> keys(random_rows<float>({std::vector<int>(head_count, c.tokens), c.head_dim}, 3));
    cache<hnd_layout> queries(random_rows<float>({std::vector<int>(head_count * group, c.queries), c.head_dim}, 4));
    tightkv::matrix<float> lse(head_count * group, c.queries, 2.0F);
    lse(0, 0) = std::numeric_limits<float>::infinity();
    tightkv::kv_view const view(keys.plane<float>(), tightkv::absent{}, queries.plane<float>(), lse.view());
    expect_as_plain(view, c.tokens, c.queries);
  }
}

// Numerators are relative to the first keys' logits: of some queries, those of later keys are e^75 times as large.
TEST(fast_attention_of_rising_logits, is_the_plain_one) {
  constexpr int tokens = 600;
  constexpr int head_dim = 4;
  constexpr double error = 4e-5;  // logits of 75 are rounded to 4e-6, several times
  for (int const queries : {7, 65}) {
    rows k({std::vector<int>(head_count, tokens), head_dim}, sizeof(float));
    rows q({std::vector<int>(head_count * group, queries), head_dim}, sizeof(float));
    for (int h = 0; h < head_count; ++h) {
      for (int t = 0; t < tokens; ++t) k.set(h, t, 0, static_cast<float>(t) / 8);
      k.set(h, 5, 1, std::numeric_limits<float>::infinity());
    }
    for (int h = 0; h < head_count * group; ++h) {
      for (int i = 0; i < queries; ++i) {
        float const steep = 1 + static_cast<float>(i) / static_cast<float>(queries);
        q.set(h, i, 0, h == 1 ? -steep / 2 : steep);
      }
    }
    cache<hnd_layout> keys(k);
    cache<hnd_layout> queries_of(q);
    tightkv::matrix<float> lse(head_count * group, queries, 30.0F);
    tightkv::kv_view const view(keys.plane<float>(), tightkv::absent{}, queries_of.plane<float>());
    tightkv::kv_view const view_with_lse(view.keys, tightkv::absent{}, view.queries, lse.view());
    expect_as_plain(view, tokens, queries, error);
    expect_as_plain(view_with_lse, tokens, queries, error);
  }
}

TEST(fast_attention_in_pages, is_the_plain_one) {
  for (int const queries : {1, 65}) {
    cache<paged_hnd_layout> keys(random_rows<float>({std::vector<int>(head_count, 600), 64}, 5));
    cache<hnd_layout> queries_of(random_rows<float>({std::vector<int>(head_count * group, queries), 64}, 6));
    tightkv::kv_view const view(keys.plane<float>(), tightkv::absent{}, queries_of.plane<float>());
    expect_as_plain(view, 600, queries);
  }
}

}  // namespace attention_test
