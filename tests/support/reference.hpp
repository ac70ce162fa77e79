// SPDX-License-Identifier: Apache-2.0
/// The papers' formulas for one head, written down in double in the most obvious way.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <support/layer.hpp>

namespace tests::reference {

using column = std::vector<double>;  // a number per token

inline double at(tensor const& x, int h, int t, int d) { return static_cast<double>(x(h, t, d)); }

inline double length(tensor const& x, int h, int t) {
  double squares = 0;
  for (int d = 0; d < x.head_dim; ++d) squares += at(x, h, t, d) * at(x, h, t, d);
  return std::sqrt(squares);
}

/// L2 norm: -||k||.
inline column minus_length(tensor const& keys, int h) {
  column s;
  for (int t = 0; t < keys.tokens; ++t) s.push_back(-length(keys, h, t));
  return s;
}

/// KeyDiff: -cos(k, mean of k / ||k||).
inline column minus_cosine(tensor const& keys, int h) {
  column mean(static_cast<std::size_t>(keys.head_dim));
  for (int t = 0; t < keys.tokens; ++t) {
    for (int d = 0; d < keys.head_dim; ++d) {
      mean[static_cast<std::size_t>(d)] += at(keys, h, t, d) / length(keys, h, t) / keys.tokens;
    }
  }
  double const mean_length = std::sqrt(std::inner_product(mean.begin(), mean.end(), mean.begin(), 0.0));
  column s;
  for (int t = 0; t < keys.tokens; ++t) {
    double dot = 0;
    for (int d = 0; d < keys.head_dim; ++d) dot += at(keys, h, t, d) * mean[static_cast<std::size_t>(d)];
    s.push_back(-dot / (length(keys, h, t) * mean_length));
  }
  return s;
}

/// LagKV's softmax of spreads of the tokens [begin, begin + lag), by the range of the `lag` tokens after them.
inline column lag_softmax(tensor const& x, int h, int begin, int lag) {
  column spread;
  for (int t = begin; t < begin + lag; ++t) {
    column normalised;
    for (int d = 0; d < x.head_dim; ++d) {
      double low = std::numeric_limits<double>::infinity();
      double high = -low;
      for (int r = begin + lag; r < begin + 2 * lag; ++r) {
        low = std::min(low, at(x, h, r, d));
        high = std::max(high, at(x, h, r, d));
      }
      normalised.push_back((at(x, h, t, d) - low) / (high - low));
    }
    double const n = static_cast<double>(normalised.size());
    double const mean = std::accumulate(normalised.begin(), normalised.end(), 0.0) / n;
    double squares = 0;
    for (double const v : normalised) squares += (v - mean) * (v - mean);
    spread.push_back(std::sqrt(squares / (n - 1)));
  }
  double sum = 0;
  for (double const u : spread) sum += std::exp(u);
  for (double& u : spread) u = std::exp(u) / sum;
  return spread;
}

/// LagKV: the sum over keys and values, NaN where tokens are not judged.
inline column lag_scores(layer const& l, int h, int sink, int lag, double value_weight) {
  column s(static_cast<std::size_t>(l.tokens()), std::numeric_limits<double>::quiet_NaN());
  for (int begin = sink; begin + 2 * lag <= l.tokens(); begin += lag) {
    auto const k = lag_softmax(l.keys, h, begin, lag);
    auto const v = lag_softmax(l.values, h, begin, lag);
    for (std::size_t i = 0; i < k.size(); ++i) s[static_cast<std::size_t>(begin) + i] = k[i] + value_weight * v[i];
  }
  return s;
}

/// The causal attention of query head q at token t on all tokens.
inline column attention(layer const& l, int q, int t) {
  int const h = q / l.group();
  column p(static_cast<std::size_t>(l.tokens()));
  double sum = 0;
  for (int j = 0; j <= t; ++j) {
    double logit = 0;
    for (int d = 0; d < l.keys.head_dim; ++d) logit += at(l.queries, q, t, d) * at(l.keys, h, j, d);
    sum += p[static_cast<std::size_t>(j)] = std::exp(logit / std::sqrt(static_cast<double>(l.keys.head_dim)));
  }
  for (double& x : p) x /= sum;
  return p;
}

/// Column sums of the attention of the query heads [q, q + heads) at the tokens from `first` on.
inline column mass(layer const& l, int q, int heads, int first) {
  column sum(static_cast<std::size_t>(l.tokens()));
  for (int g = q; g < q + heads; ++g) {
    for (int t = first; t < l.tokens(); ++t) {
      auto const p = attention(l, g, t);
      for (std::size_t j = 0; j < p.size(); ++j) sum[j] += p[j];
    }
  }
  return sum;
}

/// How many of the tokens [begin, end) a token beats: of equals the earlier is better.
inline double rank(column const& s, int token, int begin, int end) {
  int beaten = 0;
  double const mine = s[static_cast<std::size_t>(token)];
  for (int t = begin; t < end; ++t) {
    double const other = s[static_cast<std::size_t>(t)];
    beaten += other < mine || (other == mine && t > token) ? 1 : 0;
  }
  return beaten;
}

}  // namespace tests::reference
