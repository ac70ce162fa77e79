// SPDX-License-Identifier: Apache-2.0
/// What the scorers must answer: their formulas for one head, in double, in the most obvious way. Nothing is timed
/// before it agrees with these.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <tightkv/scorers/key_distinctness.hpp>
#include <tightkv/scorers/key_norm.hpp>
#include <tightkv/scorers/lag_relative.hpp>

namespace bench {

using column = std::vector<double>;  // a number per token, or per channel

template <class T>
double number(T x) {
  return static_cast<double>(static_cast<float>(x));
}

template <class Row>
double length_of(Row const& r) {
  double squares = 0;
  for (int d = 0; d < r.size; ++d) squares += number(r[d]) * number(r[d]);
  return std::sqrt(squares);
}

template <class Head>
column expected(tightkv::key_norm const&, Head const& keys, Head const&) {
  column scores;
  for (int t = 0; t < keys.tokens(); ++t) scores.push_back(-length_of(keys[t]));
  return scores;
}

template <class Head>
column expected(tightkv::key_distinctness const&, Head const& keys, Head const&) {
  column mean(static_cast<std::size_t>(keys[0].size));
  for (int t = 0; t < keys.tokens(); ++t) {
    for (std::size_t d = 0; d < mean.size(); ++d) {
      mean[d] += number(keys[t][static_cast<int>(d)]) / length_of(keys[t]);
    }
  }
  double squares = 0;
  for (double const x : mean) squares += x * x;
  column scores;
  for (int t = 0; t < keys.tokens(); ++t) {
    double dot = 0;
    for (std::size_t d = 0; d < mean.size(); ++d) dot += number(keys[t][static_cast<int>(d)]) * mean[d];
    scores.push_back(-dot / (length_of(keys[t]) * std::sqrt(squares)));
  }
  return scores;
}

/// How unevenly the channels of row t lie in the ranges that they have in rows [begin, end).
template <class Head>
double lag_spread(Head const& rows, int t, column const& low, column const& high) {
  column x;
  double mean = 0;
  for (std::size_t d = 0; d < low.size(); ++d) {
    x.push_back((number(rows[t][static_cast<int>(d)]) - low[d]) / (high[d] - low[d]));
    mean += x.back() / static_cast<double>(low.size());
  }
  double squares = 0;
  for (double const v : x) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / static_cast<double>(x.size() - 1));
}

template <class Head>
void add_lag_softmax(Head const& rows, int begin, int lag, column& scores) {
  column low(static_cast<std::size_t>(rows[0].size), std::numeric_limits<double>::infinity());
  column high(low.size(), -std::numeric_limits<double>::infinity());
  for (int t = begin + lag; t < begin + 2 * lag; ++t) {
    for (std::size_t d = 0; d < low.size(); ++d) {
      auto const x = number(rows[t][static_cast<int>(d)]);
      low[d] = std::min(low[d], x);
      high[d] = std::max(high[d], x);
    }
  }
  column weights;
  double sum = 0;
  for (int t = begin; t < begin + lag; ++t) {
    weights.push_back(std::exp(lag_spread(rows, t, low, high)));
    sum += weights.back();
  }
  for (int i = 0; i < lag; ++i)
    scores[static_cast<std::size_t>(begin + i)] += weights[static_cast<std::size_t>(i)] / sum;
}

template <class Head>
column expected(tightkv::lag_relative const& scorer, Head const& keys, Head const& values) {
  int const judged = (keys.tokens() - scorer.sink) / scorer.lag - 1;
  int const end = scorer.sink + judged * scorer.lag;
  column scores(static_cast<std::size_t>(keys.tokens()));
  for (int begin = scorer.sink; begin < end; begin += scorer.lag) {
    add_lag_softmax(keys, begin, scorer.lag, scores);
    add_lag_softmax(values, begin, scorer.lag, scores);
  }
  double const unjudged = std::numeric_limits<double>::quiet_NaN();
  std::fill_n(scores.begin(), scorer.sink, unjudged);
  std::fill(scores.begin() + end, scores.end(), unjudged);
  return scores;
}

/// Up to rounding; NaN where NaN is expected.
inline bool near(float const* got, column const& want, double tolerance = 1e-4) {
  for (std::size_t t = 0; t < want.size(); ++t) {
    auto const x = static_cast<double>(got[t]);
    bool const same = want[t] != want[t] ? x != x : std::abs(x - want[t]) <= tolerance * std::abs(want[t]) + 1e-6;
    if (!same) return false;
  }
  return true;
}

}  // namespace bench
