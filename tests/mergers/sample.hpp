// SPDX-License-Identifier: Apache-2.0
/// Rows to merge, and what a projection loses of them, counted row by row.
#pragma once

#include <cstddef>
#include <random>
#include <vector>

#include <tightkv/core/matrix.hpp>
#include <tightkv/mergers/head_projection.hpp>

namespace tests {

using numbers = tightkv::matrix<float>;
using table = tightkv::matrix<double>;

inline numbers bell_shaped(int rows, int cols, unsigned seed, float width = 1) {
  numbers result(rows, cols);
  std::mt19937 random(seed);
  std::normal_distribution<float> bell;
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) result(r, c) = width * bell(random);
  }
  return result;
}

template <class A, class B>
table product(tightkv::matrix<A> const& a, tightkv::matrix<B> const& b) {
  table result(a.rows(), b.cols());
  for (int r = 0; r < a.rows(); ++r) {
    for (int i = 0; i < a.cols(); ++i) {
      for (int c = 0; c < b.cols(); ++c) result(r, c) += static_cast<double>(a(r, i)) * static_cast<double>(b(i, c));
    }
  }
  return result;
}

inline numbers rounded(table const& t) {
  numbers result(t.rows(), t.cols());
  for (int r = 0; r < t.rows(); ++r) {
    for (int c = 0; c < t.cols(); ++c) result(r, c) = static_cast<float>(t(r, c));
  }
  return result;
}

/// Rows whose heads have something in common, as those of a model do: their energy falls off, and they have a mean.
inline numbers related_rows(int rows, int channels, unsigned seed, float mean = 0) {
  auto const latent = bell_shaped(rows, channels, seed);
  auto mix = bell_shaped(channels, channels, seed + 1);
  for (int r = 0; r < channels; ++r) {
    for (int c = 0; c < channels; ++c) mix(r, c) /= static_cast<float>(1 + r);
  }
  auto result = rounded(product(latent, mix));
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < channels; ++c) result(r, c) += mean * static_cast<float>(c % 3);
  }
  return result;
}

inline numbers columns_of(numbers const& all, int first, int count) {
  numbers result(all.rows(), count);
  for (int r = 0; r < all.rows(); ++r) {
    for (int c = 0; c < count; ++c) result(r, c) = all(r, first + c);
  }
  return result;
}

inline tightkv::gram gram_of(numbers const& rows) {
  tightkv::gram g(rows.cols());
  g.add(tightkv::plain_cpu{}, rows.view());
  return g;
}

inline tightkv::group_statistics group_of(numbers const& rows, int heads) { return {heads, gram_of(rows)}; }

/// With what the rows of each head are multiplied with, a row per query.
inline tightkv::observed_group group_of(numbers const& rows, std::vector<numbers> const& uses) {
  std::vector<tightkv::gram> grams;
  for (auto const& u : uses) grams.push_back(gram_of(u));
  return {group_of(rows, static_cast<int>(uses.size())), tightkv::query_uses(grams)};
}

/// x down up^T + offset, for each row.
inline table restored(tightkv::head_projection const& p, numbers const& rows) {
  auto const cached = product(rows, p.down);
  table result(rows.rows(), rows.cols());
  for (int t = 0; t < rows.rows(); ++t) {
    for (int a = 0; a < rows.cols(); ++a) {
      double x = p.offset.empty() ? 0 : p.offset[static_cast<std::size_t>(a)];
      for (int c = 0; c < p.rank(); ++c) x += cached(t, c) * p.up(a, c);
      result(t, a) = x;
    }
  }
  return result;
}

/// The sum of ||x - x'||^2.
inline double lost(tightkv::head_projection const& p, numbers const& rows) {
  auto const after = restored(p, rows);
  double sum = 0;
  for (int t = 0; t < rows.rows(); ++t) {
    for (int a = 0; a < rows.cols(); ++a) {
      double const x = static_cast<double>(rows(t, a)) - after(t, a);
      sum += x * x;
    }
  }
  return sum;
}

/// The sum over heads, rows x and queries u of that head of (u (x - x'))^2.
inline double lost_in_use(tightkv::head_projection const& p, numbers const& rows, std::vector<numbers> const& uses) {
  auto const after = restored(p, rows);
  int const dim = p.head_dim();
  double sum = 0;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    for (int t = 0; t < rows.rows(); ++t) {
      for (int q = 0; q < uses[i].rows(); ++q) {
        double score = 0;
        for (int d = 0; d < dim; ++d) {
          int const a = static_cast<int>(i) * dim + d;
          score += static_cast<double>(uses[i](q, d)) * (static_cast<double>(rows(t, a)) - after(t, a));
        }
        sum += score * score;
      }
    }
  }
  return sum;
}

}  // namespace tests
