// SPDX-License-Identifier: Apache-2.0
/// The formulas of the ops, written down in double and in the most obvious way.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

#include <support/rows.hpp>

namespace tests::oracle {

using numbers = std::vector<double>;
using table = std::vector<numbers>;

inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// The rows of one head.
template <class T>
table head(rows const& r, int h) {
  table result(static_cast<std::size_t>(r.length(h)), numbers(static_cast<std::size_t>(r.head_dim)));
  for (int t = 0; t < r.length(h); ++t) {
    for (int d = 0; d < r.head_dim; ++d) {
      result[static_cast<std::size_t>(t)][static_cast<std::size_t>(d)] = value_of(r.get<T>(h, t, d));
    }
  }
  return result;
}

inline bool finite(numbers const& row) {
  return std::all_of(row.begin(), row.end(), [](double x) { return std::isfinite(x); });
}
inline double dot(numbers const& a, numbers const& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }
inline double length(numbers const& a) { return std::sqrt(dot(a, a)); }

/// The Euclidean length of each row.
inline numbers norms(table const& rows) {
  numbers result;
  for (auto const& r : rows) result.push_back(finite(r) ? length(r) : nan);
  return result;
}

/// The cosine of each row with the mean of the unit rows.
inline numbers mean_cosine(table const& rows) {
  if (rows.empty()) return {};
  numbers mean(rows[0].size());
  for (auto const& r : rows) {
    double const norm = length(r);
    for (std::size_t d = 0; finite(r) && norm > 0 && d < r.size(); ++d) mean[d] += r[d] / norm;
  }
  numbers result;
  for (auto const& r : rows) {
    double const norms = length(r) * length(mean);
    result.push_back(!finite(r) ? nan : norms > 0 ? dot(r, mean) / norms : 0.0);
  }
  return result;
}

/// Softmax over the entries that are not NaN.
inline numbers softmax(numbers x) {
  double most = -std::numeric_limits<double>::infinity();
  for (double const v : x) most = v > most ? v : most;
  double sum = 0;
  for (double& v : x) {
    v = std::exp(v - most);
    sum += v == v ? v : 0;
  }
  for (double& v : x) v /= sum;
  return x;
}

/// How much each of the rows [begin, begin + lag) spreads, its channels normalised by the rows after them.
inline numbers lag_spreads(table const& rows, std::size_t begin, std::size_t lag) {
  std::size_t const dim = rows[begin].size();
  numbers low(dim, std::numeric_limits<double>::infinity());
  numbers high(dim, -std::numeric_limits<double>::infinity());
  for (std::size_t t = begin + lag; t < begin + 2 * lag; ++t) {
    for (std::size_t c = 0; finite(rows[t]) && c < dim; ++c) {
      low[c] = std::min(low[c], rows[t][c]);
      high[c] = std::max(high[c], rows[t][c]);
    }
  }
  numbers result;
  for (std::size_t t = begin; t < begin + lag; ++t) {
    numbers x;
    for (std::size_t c = 0; c < dim; ++c) {
      double const range = high[c] - low[c];
      if (range > 0 && std::isfinite(range)) x.push_back((rows[t][c] - low[c]) / range);
    }
    double const count = static_cast<double>(x.size());
    double const mean = std::accumulate(x.begin(), x.end(), 0.0) / count;
    double squares = 0;
    for (double const v : x) squares += (v - mean) * (v - mean);
    result.push_back(!finite(rows[t]) ? nan : x.size() < 2 ? 0.0 : std::sqrt(squares / (count - 1)));
  }
  return result;
}

/// Scores of partitions of `lag` rows from row `first` on, NaN elsewhere.
inline numbers lag_scores(table const& keys, table const& values, std::size_t first, std::size_t lag, double weight) {
  numbers result(keys.size(), nan);
  for (std::size_t begin = first; begin + 2 * lag <= keys.size(); begin += lag) {
    auto const k = softmax(lag_spreads(keys, begin, lag));
    for (std::size_t i = 0; i < lag; ++i) result[begin + i] = k[i];
    if (weight == 0) continue;
    auto const v = softmax(lag_spreads(values, begin, lag));
    for (std::size_t i = 0; i < lag; ++i) result[begin + i] += weight * v[i];
  }
  return result;
}

/// Causal attention of the queries of the last tokens: one row per query, 0 where it cannot see.
inline table attention(table const& queries, table const& keys) {
  table result;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    std::size_t const visible = keys.size() - queries.size() + i + 1;
    numbers logits;
    for (std::size_t j = 0; j < visible; ++j) {
      double const logit = dot(queries[i], keys[j]) / std::sqrt(static_cast<double>(queries[i].size()));
      logits.push_back(finite(keys[j]) ? logit : nan);
    }
    auto p = finite(queries[i]) ? softmax(logits) : numbers(visible);
    p.resize(keys.size());
    for (std::size_t j = 0; j < keys.size(); ++j) {
      if (!finite(keys[j])) p[j] = 0;
    }
    result.push_back(p);
  }
  return result;
}

/// The log-sum-exp of each of those queries' logits.
inline numbers row_lse(table const& queries, table const& keys) {
  numbers result;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < keys.size() - queries.size() + i + 1; ++j) {
      sum += std::exp(dot(queries[i], keys[j]) / std::sqrt(static_cast<double>(queries[i].size())));
    }
    result.push_back(std::log(sum));
  }
  return result;
}

/// Column sums.
inline numbers sum_of(table const& rows, std::size_t columns) {
  numbers result(columns);
  for (auto const& r : rows) {
    for (std::size_t j = 0; j < columns; ++j) result[j] += r[j];
  }
  return result;
}

/// The `count` best of the tokens [begin, end), ascending: sorted, NaN last, the earlier of equals first.
inline std::vector<int> best(std::vector<float> const& scores, int begin, int end, int count) {
  std::vector<int> tokens(static_cast<std::size_t>(end - begin));
  std::iota(tokens.begin(), tokens.end(), begin);
  auto const score = [&](int t) { return scores[static_cast<std::size_t>(t)]; };
  std::stable_sort(tokens.begin(), tokens.end(), [&](int a, int b) {
    bool const a_is_nan = std::isnan(score(a));
    bool const b_is_nan = std::isnan(score(b));
    return a_is_nan || b_is_nan ? b_is_nan && !a_is_nan : score(a) > score(b);
  });
  tokens.resize(static_cast<std::size_t>(count));
  std::sort(tokens.begin(), tokens.end());
  return tokens;
}

}  // namespace tests::oracle
