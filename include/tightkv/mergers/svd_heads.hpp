// SPDX-License-Identifier: Apache-2.0
/// SVD of the cached rows: the projection that loses least of them.
#pragma once

#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {

/// What a projection goes through: zero, or the mean of the rows.
enum class origin { zero, mean };

/// Keeps the leading right singular vectors of the group's rows: down = up = E, the `rank` leading eigenvectors of X^T
/// X. Minimises ||X - X E E^T||_F^2; what is lost is the sum of the other eigenvalues. Yu et al., arXiv:2406.07056.
///
///     tightkv::svd_heads{.rank = 128}.merge(tightkv::group_of(values, 32, {0, 1, 2, 3}));   // SVD-a
///     tightkv::svd_heads{}.merge(tightkv::group_of(tightkv::weight_gram(w_v), 32, {0, 1})); // SVD-w
///
/// With `origin::mean` the rows' mean is kept apart (`offset`): for values it goes into the bias of W_O, since
/// attention weights sum to 1; for keys without RoPE it can be dropped, since it moves all logits of a query alike.
/// Never loses more of the rows. Not for keys with RoPE, whose constant part turns with the position.
///
/// Keys with RoPE: as they are cached, per group (R2) or all heads of a layer as one group (R1), and then applied at
/// run time. Each eigenvector's largest entry is positive. Throws `bad_argument` for a rank above the group's channels
/// or statistics without rows. Cost: one eigenproblem of t head_dim.
struct svd_heads {
  int rank = 0;  // 0: head_dim
  tightkv::origin origin = tightkv::origin::zero;

  head_projection merge(group_statistics const& group) const;
};
static_assert(merger<svd_heads>);

}  // namespace tightkv
