// SPDX-License-Identifier: Apache-2.0
/// The attention of one query on the keys it can see: what the attention ops' plain CPU kernels share.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <memory_resource>
#include <numeric>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/view/kv_view.hpp>

namespace tightkv::detail {

/// One head's keys as floats, side by side, so that many queries can be held against them.
class float_keys {
 public:
  template <class Head>
  float_keys(Head const& rows, int head_dim, std::pmr::memory_resource* memory)
      : dim_(static_cast<std::size_t>(head_dim)),
        data_(static_cast<std::size_t>(rows.tokens()) * dim_, memory),
        finite_(static_cast<std::size_t>(rows.tokens()), memory) {
    for (int t = 0; t < rows.tokens(); ++t) {
      auto const r = rows[t];
      finite_[static_cast<std::size_t>(t)] = all_finite(r) ? 1 : 0;
      for (int d = 0; d < head_dim; ++d) data_[index(t) + static_cast<std::size_t>(d)] = static_cast<float>(r[d]);
    }
  }

  bool finite(int token) const noexcept { return finite_[static_cast<std::size_t>(token)] != 0; }

  // Plain multiply-adds, which a compiler may contract: attention is promised within an error, not to the bit, and an
  // `fma` is a library call on machines that do not have the instruction.
  float dot(float const* query, int token) const noexcept {
    float const* const key = data_.data() + index(token);
    float lane[lane_sum::lanes] = {};
    std::size_t d = 0;
    for (; d + lane_sum::lanes <= dim_; d += lane_sum::lanes) {
      for (std::size_t i = 0; i < lane_sum::lanes; ++i) lane[i] += query[d + i] * key[d + i];
    }
    for (std::size_t i = 0; d < dim_; ++d, ++i) lane[i] += query[d] * key[d];
    float sum = 0.0F;
    for (float const x : lane) sum += x;
    return sum;
  }

 private:
  std::size_t index(int token) const noexcept { return static_cast<std::size_t>(token) * dim_; }

  std::size_t dim_;
  std::pmr::vector<float> data_;
  std::pmr::vector<char> finite_;
};

/// Calls `use(p)` for each query of query head q, oldest first, with its probabilities over the keys: p[j] for token j,
/// 0 for tokens it cannot see. Query i of w belongs to token n - w + i and sees the tokens up to its own. Logits are
/// q.k / sqrt(head_dim). Keys that are not finite are as if masked; queries that are not finite are passed over.
template <class V, class Use>
void each_attention_row(V const& view, int q, int first_query, float_keys const& keys,
                        std::pmr::memory_resource* memory, Use&& use) {
  int const h = q / group_size(view);
  int const tokens = view.tokens(h);
  auto const queries = view.queries.head(q);
  int const head_dim = view.keys.head_dim();
  float const scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  std::pmr::vector<float> query(static_cast<std::size_t>(head_dim), memory);
  std::pmr::vector<float> p(static_cast<std::size_t>(tokens), memory);

  for (int i = first_query; i < queries.tokens(); ++i) {
    if (!all_finite(queries[i])) continue;
    for (int d = 0; d < head_dim; ++d) query[static_cast<std::size_t>(d)] = static_cast<float>(queries[i][d]) * scale;

    auto const visible = static_cast<std::size_t>(tokens - queries.tokens() + i + 1);
    constexpr float masked = -std::numeric_limits<float>::infinity();
    float most = masked;
    for (std::size_t j = 0; j < visible; ++j) {
      float const logit = keys.dot(query.data(), static_cast<int>(j));
      p[j] = keys.finite(static_cast<int>(j)) && is_finite(logit) ? logit : masked;
      most = std::max(most, p[j]);
    }
    if (most == masked) continue;
    if constexpr (view_with_row_lse<V>) {
      float const lse = view.row_lse(q, i);
      if (!is_finite(lse)) continue;
      for (std::size_t j = 0; j < visible; ++j) p[j] = exp(p[j] - lse);
    } else {
      for (std::size_t j = 0; j < visible; ++j) p[j] = exp(p[j] - most);
      double const sum = std::accumulate(p.begin(), p.begin() + static_cast<std::ptrdiff_t>(visible), 0.0);
      auto const normalise = static_cast<float>(1.0 / sum);
      for (std::size_t j = 0; j < visible; ++j) p[j] *= normalise;
    }
    use(static_cast<float const*>(p.data()));
  }
}

}  // namespace tightkv::detail
