// SPDX-License-Identifier: Apache-2.0
/// A model with more KV heads than it needs: each head copied, each copy turned by an orthogonal matrix of its own, and
/// turned back by the queries and by W_O. The same function, which merging must find again.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <vector>

namespace test {

/// The attention weights of a layer, each outputs x inputs, row after row. RoPE's pairs are neighbours.
struct attention_weights {
  int width = 0;
  int query_heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int rope_dimensions = 0;
  std::vector<float> query;
  std::vector<float> key;
  std::vector<float> value;
  std::vector<float> output;
};

namespace detail {

using square = std::vector<double>;  // dim x dim, row after row

inline double dot(double const* a, double const* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// Random rows made orthonormal one after the other.
inline square random_orthogonal(int dim, std::mt19937& random) {
  std::normal_distribution<double> normal;
  square m(static_cast<std::size_t>(dim * dim));
  for (int r = 0; r < dim; ++r) {
    double* const row = m.data() + r * dim;
    for (int c = 0; c < dim; ++c) row[c] = normal(random);
    for (int twice = 0; twice < 2; ++twice) {
      for (int other = 0; other < r; ++other) {
        double const along = dot(row, m.data() + other * dim, dim);
        for (int c = 0; c < dim; ++c) row[c] -= along * m[static_cast<std::size_t>(other * dim + c)];
      }
    }
    double const length = std::sqrt(dot(row, row, dim));
    for (int c = 0; c < dim; ++c) row[c] /= length;
  }
  return m;
}

/// Turns each of RoPE's pairs in its plane, which commutes with RoPE; what RoPE leaves alone is turned freely.
inline square random_commuting(int dim, int rope_dimensions, std::mt19937& random) {
  std::uniform_real_distribution<double> angle(0, 6.283185307179586);
  square m(static_cast<std::size_t>(dim * dim));
  auto const at = [&](int r, int c) -> double& { return m[static_cast<std::size_t>(r * dim + c)]; };
  for (int i = 0; i < rope_dimensions; i += 2) {
    double const a = angle(random);
    at(i, i) = at(i + 1, i + 1) = std::cos(a);
    at(i + 1, i) = std::sin(a);
    at(i, i + 1) = -std::sin(a);
  }
  int const rest = dim - rope_dimensions;
  auto const free = random_orthogonal(rest, random);
  for (int r = 0; r < rest; ++r) {
    for (int c = 0; c < rest; ++c)
      at(rope_dimensions + r, rope_dimensions + c) = free[static_cast<std::size_t>(r * rest + c)];
  }
  return m;
}

}  // namespace detail

/// As many KV heads as `kv_heads`, a multiple of those there are and a divisor of the query heads.
inline attention_weights expanded(attention_weights const& from, int kv_heads, unsigned seed) {
  std::mt19937 random{seed};
  int const dim = from.head_dim;
  int const copies = kv_heads / from.kv_heads;
  int const sharing = from.query_heads / kv_heads;  // query heads of a new KV head
  auto to = from;
  to.kv_heads = kv_heads;
  to.key.assign(static_cast<std::size_t>(kv_heads * dim * from.width), 0.0F);
  to.value = to.key;
  std::vector<double> column(static_cast<std::size_t>(dim));

  // Rows [to_row, to_row + dim) = turn times rows [from_row, ...)
  auto const turn_rows = [&](detail::square const& turn, std::vector<float> const& w, int from_row,
                             std::vector<float>& out, int to_row) {
    for (int i = 0; i < from.width; ++i) {
      for (int d = 0; d < dim; ++d)
        column[static_cast<std::size_t>(d)] = w[static_cast<std::size_t>((from_row + d) * from.width + i)];
      for (int d = 0; d < dim; ++d) {
        out[static_cast<std::size_t>((to_row + d) * from.width + i)] =
            static_cast<float>(detail::dot(turn.data() + d * dim, column.data(), dim));
      }
    }
  };
  for (int h = 0; h < kv_heads; ++h) {
    auto const of_keys = detail::random_commuting(dim, from.rope_dimensions, random);
    auto const of_values = detail::random_orthogonal(dim, random);
    turn_rows(of_keys, from.key, h / copies * dim, to.key, h * dim);
    turn_rows(of_values, from.value, h / copies * dim, to.value, h * dim);
    for (int q = h * sharing; q < (h + 1) * sharing; ++q) {
      // q k = (T q) (T k); W_O v = (W_O T') (T v), so each row of W_O is turned as a vector.
      turn_rows(of_keys, from.query, q * dim, to.query, q * dim);
      int const inputs = from.query_heads * dim;
      for (int o = 0; o < from.width; ++o) {
        auto const at = static_cast<std::size_t>(o * inputs + q * dim);
        for (std::size_t d = 0; d < column.size(); ++d) column[d] = from.output[at + d];
        for (std::size_t d = 0; d < column.size(); ++d) {
          to.output[at + d] =
              static_cast<float>(detail::dot(of_values.data() + static_cast<int>(d) * dim, column.data(), dim));
        }
      }
    }
  }
  return to;
}

/// Keys and values that are no copies any more: to each row of W_K and W_V noise of so many times its length.
inline void add_noise(attention_weights& w, double share, unsigned seed) {
  std::mt19937 random{seed};
  std::normal_distribution<double> normal;
  for (auto* const matrix : {&w.key, &w.value}) {
    for (std::size_t row = 0; row < matrix->size(); row += static_cast<std::size_t>(w.width)) {
      double squares = 0;
      for (int i = 0; i < w.width; ++i) {
        auto const x = static_cast<double>((*matrix)[row + static_cast<std::size_t>(i)]);
        squares += x * x;
      }
      double const size = share * std::sqrt(squares / w.width);
      for (int i = 0; i < w.width; ++i)
        (*matrix)[row + static_cast<std::size_t>(i)] += static_cast<float>(size * normal(random));
    }
  }
}

/// The same function with its heads dealt out: head h of the result is head h * stride + h * stride / kv_heads (modulo
/// their number), so that with as many strides as copies no neighbours are of one head any more. Query heads and W_O
/// move along.
inline attention_weights dealt_out(attention_weights const& from, int stride) {
  auto to = from;
  int const inputs = from.query_heads * from.head_dim;
  int const sharing = from.query_heads / from.kv_heads;
  auto const copy_rows = [&](std::vector<float> const& w, int from_row, std::vector<float>& out, int to_row, int rows) {
    std::copy_n(w.begin() + std::ptrdiff_t{from_row} * from.width, std::ptrdiff_t{rows} * from.width,
                out.begin() + std::ptrdiff_t{to_row} * from.width);
  };
  for (int h = 0; h < from.kv_heads; ++h) {
    int const old = (h * stride + h * stride / from.kv_heads) % from.kv_heads;
    int const dim = from.head_dim;
    copy_rows(from.key, old * dim, to.key, h * dim, dim);
    copy_rows(from.value, old * dim, to.value, h * dim, dim);
    copy_rows(from.query, old * sharing * dim, to.query, h * sharing * dim, sharing * dim);
    for (int o = 0; o < from.width; ++o) {
      auto const row = std::ptrdiff_t{o} * inputs;
      std::copy_n(from.output.begin() + row + old * sharing * dim, sharing * dim,
                  to.output.begin() + row + h * sharing * dim);
    }
  }
  return to;
}

}  // namespace test
