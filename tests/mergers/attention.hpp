// SPDX-License-Identifier: Apache-2.0
/// An attention layer in double, to be merged and compared with itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <vector>

#include <mergers/sample.hpp>
#include <mergers/turning.hpp>
#include <tightkv/mergers/fuse_keys.hpp>
#include <tightkv/mergers/fuse_values.hpp>
#include <tightkv/mergers/run_time_keys.hpp>
#include <tightkv/ops/project_heads.hpp>
#include <tightkv/view/layouts.hpp>

namespace tests {

/// Matrices have a row per output feature. `scale` is what logits are divided by the root of.
struct attention {
  tightkv::attention_shape shape;
  numbers query, key, value, output;
  std::vector<float> query_bias, key_bias, value_bias, output_bias;
  int scale = 0;

  tightkv::key_weights keys() const { return {key.view(), query.view(), key_bias, query_bias}; }
  tightkv::value_weights values() const { return {value.view(), output.view(), value_bias, output_bias}; }
};

inline attention random_attention(tightkv::attention_shape const& s, int hidden, unsigned seed, bool biases) {
  auto const bias = [&](int size, unsigned salt) {
    auto const drawn = bell_shaped(1, biases ? size : 0, seed + salt, 0.7F);
    return std::vector<float>(drawn.row(0).begin(), drawn.row(0).end());
  };
  float const width = 1 / std::sqrt(static_cast<float>(hidden));
  return {s,
          bell_shaped(s.query_heads * s.key_dim, hidden, seed + 1, 2 * width),
          bell_shaped(s.kv_heads * s.key_dim, hidden, seed + 2, 2 * width),
          bell_shaped(s.kv_heads * s.value_dim, hidden, seed + 3, width),
          bell_shaped(hidden, s.query_heads * s.value_dim, seed + 4, 0.3F),
          bias(s.query_heads * s.key_dim, 5),
          bias(s.kv_heads * s.key_dim, 6),
          bias(s.kv_heads * s.value_dim, 7),
          bias(hidden, 8),
          s.key_dim};
}

/// x W^T + b
inline table linear(numbers const& x, numbers const& w, std::vector<float> const& bias) {
  table result(x.rows(), w.rows());
  for (int t = 0; t < x.rows(); ++t) {
    for (int r = 0; r < w.rows(); ++r) {
      double sum = bias.empty() ? 0 : static_cast<double>(bias[static_cast<std::size_t>(r)]);
      for (int i = 0; i < x.cols(); ++i) sum += static_cast<double>(x(t, i)) * static_cast<double>(w(r, i));
      result(t, r) = sum;
    }
  }
  return result;
}

/// What a token of the layer is: rows of all heads side by side, keys and queries after RoPE at scattered positions.
struct activations {
  table queries, keys, values;
};

inline activations activations_of(attention const& a, numbers const& x) {
  activations result{linear(x, a.query, a.query_bias), linear(x, a.key, a.key_bias), linear(x, a.value, a.value_bias)};
  for (auto* const rows : {&result.queries, &result.keys}) {
    for (int t = 0; t < rows->rows(); ++t) {
      for (int first = 0; first < rows->cols(); first += a.shape.key_dim) {
        turn([&](int c) -> double& { return (*rows)(t, c); }, first, scattered(t), a.shape.rotary);
      }
    }
  }
  return result;
}

/// Causal attention over the rows, through W_O.
inline table output_of(attention const& a, activations const& rows) {
  auto const& s = a.shape;
  int const tokens = rows.keys.rows();
  int const key_dim = rows.queries.cols() / s.query_heads;
  int const value_dim = rows.values.cols() / s.kv_heads;
  table mixed(tokens, s.query_heads * value_dim);
  for (int q = 0; q < s.query_heads; ++q) {
    int const h = q / s.group_size();
    for (int t = 0; t < tokens; ++t) {
      std::vector<double> p;
      for (int j = 0; j <= t; ++j) {
        double logit = 0;
        for (int d = 0; d < key_dim; ++d) logit += rows.queries(t, q * key_dim + d) * rows.keys(j, h * key_dim + d);
        p.push_back(logit / std::sqrt(a.scale));
      }
      double const most = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double& x : p) sum += x = std::exp(x - most);
      for (int j = 0; j <= t; ++j) {
        for (int d = 0; d < value_dim; ++d) {
          mixed(t, q * value_dim + d) += p[static_cast<std::size_t>(j)] / sum * rows.values(j, h * value_dim + d);
        }
      }
    }
  }
  auto result = table(tokens, a.output.rows());
  for (int t = 0; t < tokens; ++t) {
    for (int r = 0; r < a.output.rows(); ++r) {
      result(t, r) = a.output_bias.empty() ? 0 : static_cast<double>(a.output_bias[static_cast<std::size_t>(r)]);
      for (int i = 0; i < mixed.cols(); ++i) result(t, r) += mixed(t, i) * static_cast<double>(a.output(r, i));
    }
  }
  return result;
}

/// Each group's rows, projected and restored in place.
inline void restore(table& rows, std::span<tightkv::head_projection const> projections,
                    tightkv::head_groups const& groups) {
  for (std::size_t g = 0; g < groups.size(); ++g) {
    auto const& p = projections[g];
    int const dim = p.head_dim();
    auto const column = [&](int a) { return groups[g][static_cast<std::size_t>(a / dim)] * dim + a % dim; };
    for (int t = 0; t < rows.rows(); ++t) {
      std::vector<double> cached(static_cast<std::size_t>(p.rank()));
      for (int c = 0; c < p.rank(); ++c) {
        for (int a = 0; a < p.down.rows(); ++a)
          cached[static_cast<std::size_t>(c)] += rows(t, column(a)) * p.down(a, c);
      }
      for (int a = 0; a < p.up.rows(); ++a) {
        double x = p.offset.empty() ? 0 : p.offset[static_cast<std::size_t>(a)];
        for (int c = 0; c < p.rank(); ++c) x += cached[static_cast<std::size_t>(c)] * p.up(a, c);
        rows(t, column(a)) = x;
      }
    }
  }
}

/// The layer with its values merged into the weights.
inline attention with_values(attention a, tightkv::head_groups const& groups,
                             std::span<tightkv::head_projection const> projections) {
  auto merged = tightkv::fuse_values(a.shape, groups, projections, a.values());
  a.value = std::move(merged.value);
  a.output = std::move(merged.output);
  a.value_bias = std::move(merged.value_bias);
  a.output_bias = std::move(merged.output_bias);
  a.shape.value_dim = projections[0].rank();
  return a;
}

/// The layer with its keys merged into the weights. Both have to be merged before it is a layer again.
inline attention with_keys(attention a, tightkv::head_groups const& groups,
                           std::span<tightkv::head_projection const> projections,
                           tightkv::softmax_scale scale = tightkv::softmax_scale::of_head_dim) {
  auto merged = tightkv::fuse_keys(a.shape, groups, projections, a.keys(), scale);
  a.key = std::move(merged.key);
  a.query = std::move(merged.query);
  a.key_bias = std::move(merged.key_bias);
  a.query_bias = std::move(merged.query_bias);
  a.shape.key_dim = projections[0].rank();
  return a;
}

inline void expect_near(table const& got, table const& want, double tolerance) {
  ASSERT_EQ(got.rows(), want.rows());
  ASSERT_EQ(got.cols(), want.cols());
  for (int r = 0; r < got.rows(); ++r) {
    for (int c = 0; c < got.cols(); ++c) ASSERT_NEAR(got(r, c), want(r, c), tolerance) << r << ' ' << c;
  }
}

/// How far apart, on the whole.
inline double relative_distance(table const& a, table const& b) {
  double difference = 0;
  double size = 0;
  for (int r = 0; r < a.rows(); ++r) {
    for (int c = 0; c < a.cols(); ++c) {
      difference += (a(r, c) - b(r, c)) * (a(r, c) - b(r, c));
      size += b(r, c) * b(r, c);
    }
  }
  return std::sqrt(difference / size);
}

}  // namespace tests
