// SPDX-License-Identifier: Apache-2.0
/// Mean pooling of heads: the baseline.
#pragma once

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
    head_projection result{group.heads, std::move(down), std::move(up), {}, {}};
    result.predicted = row_energy(result, group);
    return result;
  }
};
static_assert(merger<mean_heads>);

}  // namespace tightkv
