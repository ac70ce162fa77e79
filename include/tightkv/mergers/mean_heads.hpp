// SPDX-License-Identifier: Apache-2.0
/// Mean pooling of heads: the baseline.
#pragma once

#include <algorithm>
#include <utility>

#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {

/// The new head is the mean of the old ones, and stands for each of them. Ainslie et al., GQA, arXiv:2305.13245.
///
/// Looks at nothing, commutes with RoPE, and loses most of a model that is not trained afterwards.
struct mean_heads {
  head_projection merge(group_statistics const& group) const {
    detail::check_group("mean_heads", group);
    int const dim = group.head_dim();
    matrix<double> down(group.rows.size(), dim);
    matrix<double> up(group.rows.size(), dim);
    for (int i = 0; i < group.heads; ++i) {
      for (int d = 0; d < dim; ++d) {
        down(i * dim + d, d) = 1.0 / group.heads;
        up(i * dim + d, d) = 1;
      }
    }
    return {group.heads, std::move(down), std::move(up), {}, predicted(group)};
  }

 private:
  // The sum of ||x_i - mean||^2 over heads is that of ||x_i||^2 less that of x_i x_j over all pairs, by the heads.
  static energy predicted(group_statistics const& group) {
    auto const x = group.rows.products();
    int const dim = group.head_dim();
    energy result;
    double pairs = 0;
    for (int a = 0; a < x.rows; ++a) {
      result.total += x(a, a);
      for (int b = a % dim; b < x.cols; b += dim) pairs += x(a, b);
    }
    result.lost = std::max(0.0, result.total - pairs / group.heads);
    return result;
  }
};
static_assert(merger<mean_heads>);

}  // namespace tightkv
