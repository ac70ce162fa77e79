// SPDX-License-Identifier: Apache-2.0
/// A layer whose KV heads were copied, each copy turned by a matrix of its own, is the same function with more heads:
/// merging it back must lose nothing.
#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mergers/attention.hpp>
#include <tightkv/mergers/calibration.hpp>
#include <tightkv/mergers/commuting_heads.hpp>
#include <tightkv/mergers/kq_svd.hpp>
#include <tightkv/mergers/mean_heads.hpp>
#include <tightkv/mergers/svd_heads.hpp>

namespace {

using namespace tests;

constexpr int copies = 3;

/// A random rotation: of the whole head for values, of each pair of channels for keys.
table rotation(int dim, unsigned seed, tightkv::rotary const* pairs) {
  auto const angles = bell_shaped(dim, dim, seed, 3);
  table result(dim, dim);
  for (int i = 0; i < dim; ++i) result(i, i) = 1;
  auto const rotate = [&](int a, int b) {
    double const angle = static_cast<double>(angles(a, b));
    for (int r = 0; r < dim; ++r) {
      double const x = result(r, a);
      double const y = result(r, b);
      result(r, a) = x * std::cos(angle) - y * std::sin(angle);
      result(r, b) = x * std::sin(angle) + y * std::cos(angle);
    }
  };
  if (pairs != nullptr) {
    for (int f = 0; f < pairs->frequencies(); ++f) rotate(pairs->real(f), pairs->imaginary(f));
    return result;
  }
  for (int a = 0; a < dim; ++a) {
    for (int b = 0; b < a; ++b) rotate(a, b);
  }
  return result;
}

/// One KV head for each query head of what had 2 KV heads and 6 query heads. Rows of a head become x R in W_K or W_V,
/// and in W_Q or W_O, which R^T R = 1 undoes.
attention expanded(attention const& a) {
  auto result = a;
  auto const& s = a.shape;
  result.shape.kv_heads = s.query_heads;
  result.key = numbers(s.query_heads * s.key_dim, a.key.cols());
  result.value = numbers(s.query_heads * s.value_dim, a.value.cols());
  result.key_bias.resize(static_cast<std::size_t>(result.key.rows()));
  result.value_bias.resize(static_cast<std::size_t>(result.value.rows()));
  for (int q = 0; q < s.query_heads; ++q) {
    int const h = q / s.group_size();
    auto const of_keys = rotation(s.key_dim, 70 + static_cast<unsigned>(q), &s.rotary);
    auto const of_values = rotation(s.value_dim, 80 + static_cast<unsigned>(q), nullptr);
    auto const rotate = [](numbers const& from, std::vector<float> const& bias, int head, table const& by, numbers& to,
                           std::vector<float>& new_bias, int new_head) {
      int const dim = by.rows();
      for (int c = 0; c < dim; ++c) {
        std::vector<double> row(static_cast<std::size_t>(from.cols()) + 1);
        for (int d = 0; d < dim; ++d) {
          for (int i = 0; i < from.cols(); ++i) {
            row[static_cast<std::size_t>(i)] += by(d, c) * static_cast<double>(from(head * dim + d, i));
          }
          row.back() += by(d, c) * static_cast<double>(bias[static_cast<std::size_t>(head * dim + d)]);
        }
        for (int i = 0; i < from.cols(); ++i) {
          to(new_head * dim + c, i) = static_cast<float>(row[static_cast<std::size_t>(i)]);
        }
        new_bias[static_cast<std::size_t>(new_head * dim + c)] = static_cast<float>(row.back());
      }
    };
    rotate(a.key, a.key_bias, h, of_keys, result.key, result.key_bias, q);
    rotate(a.query, a.query_bias, q, of_keys, result.query, result.query_bias, q);
    rotate(a.value, a.value_bias, h, of_values, result.value, result.value_bias, q);
    for (int r = 0; r < a.output.rows(); ++r) {
      for (int c = 0; c < s.value_dim; ++c) {
        double sum = 0;
        for (int d = 0; d < s.value_dim; ++d)
          sum += static_cast<double>(a.output(r, q * s.value_dim + d)) * of_values(d, c);
        result.output(r, q * s.value_dim + c) = static_cast<float>(sum);
      }
    }
  }
  return result;
}

struct expanded_heads : ::testing::TestWithParam<tightkv::rotary_pairs> {
  tightkv::attention_shape const shape{
      .query_heads = 2 * copies, .kv_heads = 2, .key_dim = 8, .value_dim = 6, .rotary = {8, GetParam()}};
  attention const original = random_attention(shape, 24, 11, true);
  attention const copied = expanded(original);
  numbers const inputs = related_rows(60, 24, 12, 0.3F);
  activations const rows = activations_of(copied, inputs);
  table const wanted = output_of(original, activations_of(original, inputs));
  tightkv::head_groups const groups = tightkv::adjacent_groups(2 * copies, 2);

  template <class M>
  std::vector<tightkv::head_projection> merge(M const& merger, table const& of, table const& with) const {
    auto const sums = gram_of(rounded(of));
    int const dim = of.cols() / (2 * copies);
    std::vector<tightkv::gram> uses;
    for (int h = 0; h < 2 * copies; ++h) uses.push_back(gram_of(columns_of(rounded(with), h * dim, dim)));
    std::vector<tightkv::head_projection> result;
    for (auto const& g : groups) {
      result.push_back(merger.merge(tightkv::group_of(sums, 2 * copies, g, tightkv::query_uses(uses))));
    }
    return result;
  }
};

INSTANTIATE_TEST_SUITE_P(layouts, expanded_heads,
                         ::testing::Values(tightkv::rotary_pairs::half_split, tightkv::rotary_pairs::interleaved),
                         [](auto const& layout) {
                           return layout.param == tightkv::rotary_pairs::half_split ? "half_split" : "interleaved";
                         });

TEST_P(expanded_heads, are_the_same_function) { expect_near(output_of(copied, rows), wanted, 1e-5); }

TEST_P(expanded_heads, merge_back_exactly_into_the_weights) {
  auto const values = merge(tightkv::svd_heads{}, rows.values, rows.values);
  for (auto const& keys : {merge(tightkv::commuting_heads{shape.rotary}, rows.keys, rows.queries),
                           merge(tightkv::commuting_query_heads{shape.rotary}, rows.keys, rows.queries)}) {
    auto merged = with_values(with_keys(copied, groups, keys), groups, values);
    merged.shape.kv_heads = 2;
    EXPECT_EQ(merged.key.rows(), original.key.rows());
    expect_near(output_of(merged, activations_of(merged, inputs)), wanted, 2e-5);
  }
}

TEST_P(expanded_heads, merge_back_exactly_at_run_time) {
  auto const values = merge(tightkv::svd_heads{}, rows.values, rows.values);
  for (auto const& keys :
       {merge(tightkv::svd_heads{}, rows.keys, rows.queries), merge(tightkv::kq_svd{}, rows.keys, rows.queries)}) {
    auto after = rows;
    restore(after.keys, keys, groups);
    restore(after.values, values, groups);
    expect_near(output_of(copied, after), wanted, 2e-5);
  }
}

TEST_P(expanded_heads, are_lost_by_the_mean) {
  auto after = rows;
  restore(after.keys, merge(tightkv::mean_heads{}, rows.keys, rows.queries), groups);
  EXPECT_GT(relative_distance(output_of(copied, after), wanted), 0.01);
}

}  // namespace
