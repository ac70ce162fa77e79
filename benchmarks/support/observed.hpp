// SPDX-License-Identifier: Apache-2.0
/// Keys that queries look at, and what the attention ops must answer about them: from the attention matrix.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <benchmark/benchmark.h>

#include <support/memory.hpp>
#include <support/oracle.hpp>
#include <tightkv/view/kv_view.hpp>
#include <tightkv/view/layouts.hpp>

namespace bench {

inline constexpr int group = 4;  // query heads that share a KV head
inline constexpr int head_dim = 128;

/// Keys of `heads` heads, and the queries of the last `window` tokens.
class observed {
 public:
  explicit observed(benchmark::State const& state)
      : heads(static_cast<int>(state.range(0))),
        tokens(static_cast<int>(state.range(1))),
        window(static_cast<int>(state.range(2))),
        memory_(static_cast<std::size_t>(heads * (tokens + group * window) * head_dim)) {
    for (std::size_t i = 0; i < memory_.size(); ++i) memory_[i] = random_number(i);
  }

  auto view() const {
    auto const keys = tightkv::hnd(memory_.data(), {.heads = heads, .tokens = tokens, .head_dim = head_dim});
    auto const queries = tightkv::hnd(memory_.data() + heads * tokens * head_dim,
                                      {.heads = heads * group, .tokens = window, .head_dim = head_dim});
    return tightkv::kv_view{keys, tightkv::absent{}, queries};
  }
  double multiply_adds() const {
    double const visible = tokens - 0.5 * (window - 1);  // of a query, on average
    return visible * window * group * heads * head_dim;
  }
  double bytes() const { return static_cast<double>(memory_.bytes()); }

  int heads;
  int tokens;
  int window;

 private:
  huge_array<float> memory_;
};

/// One query head's attention, queries x tokens.
template <class V>
std::vector<float> attention_matrix(V const& view, int q) {
  auto const keys = view.keys.head(q / group);
  auto const queries = view.queries.head(q);
  auto const tokens = static_cast<std::size_t>(keys.tokens());
  std::vector<float> matrix(static_cast<std::size_t>(queries.tokens()) * tokens);
  for (int i = 0; i < queries.tokens(); ++i) {
    float* const p = matrix.data() + static_cast<std::size_t>(i) * tokens;
    float sum = 0;
    for (int j = 0; j <= keys.tokens() - queries.tokens() + i; ++j) {
      float logit = 0;
      for (int d = 0; d < head_dim; ++d) logit += queries[i][d] * keys[j][d];
      p[j] = std::exp(logit / std::sqrt(static_cast<float>(head_dim)));
      sum += p[j];
    }
    for (std::size_t j = 0; j < tokens; ++j) p[j] /= sum;
  }
  return matrix;
}

/// Each token's attention, of all queries and all query heads of a KV head together.
template <class V>
std::vector<column> column_sums(V const& view) {
  std::vector<column> sums;
  for (int h = 0; h < view.heads(); ++h) {
    column& sum = sums.emplace_back(static_cast<std::size_t>(view.tokens(h)));
    for (int q = h * group; q < (h + 1) * group; ++q) {
      auto const matrix = attention_matrix(view, q);
      for (auto p = matrix.begin(); p != matrix.end();) {
        for (double& s : sum) s += static_cast<double>(*p++);
      }
    }
  }
  return sums;
}

/// SnapKV's votes from these: the mean, then the average of five neighbours.
inline column votes(column const& sum, int window) {
  auto const judged = static_cast<std::ptrdiff_t>(sum.size()) - window;
  column result;
  for (std::ptrdiff_t t = 0; t < judged; ++t) {
    double five = 0;
    for (auto i = std::max<std::ptrdiff_t>(0, t - 2); i <= std::min(judged - 1, t + 2); ++i) {
      five += sum[static_cast<std::size_t>(i)];
    }
    result.push_back(five / (5.0 * window * group));
  }
  return result;
}

}  // namespace bench
