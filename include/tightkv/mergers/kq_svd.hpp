// SPDX-License-Identifier: Apache-2.0
/// KQ-SVD: the projection that loses least of what rows are used for: of scores, or of the layer's output.
#pragma once

#include <tightkv/mergers/head_projection.hpp>
#include <tightkv/mergers/svd_heads.hpp>

namespace tightkv {

/// Minimises the sum over the group's heads of ||(X_i - X'_i) U_i^T||_F^2: for keys U are the queries and the products
/// are attention scores; for values U_i is W_O,i^T and the products are what the heads add to the layer's output.
///
///     tightkv::kq_svd{.rank = 64}.merge(tightkv::group_of(keys, 9, {0, 1, 2}, tightkv::query_uses(queries)));
///     tightkv::kq_svd{}.merge(tightkv::group_of(values, 9, {0, 1, 2}, tightkv::output_uses(w_o, shape)));
///
/// With X^T X = E L E^T, S = L^(1/2) E^T and U_R the leading eigenvectors of S blockdiag(U_i^T U_i) S^T:
/// down = E L^(-1/2) U_R and up = E L^(1/2) U_R, up to a scale that gives each column of `down` length 1. Directions in
/// which rows have less than 1e-12 of the largest energy count as missing. `down` is not orthonormal, so the length of
/// a cached row means nothing: do not evict by it. KQ-SVD, arXiv:2512.05916.
///
/// Keys with RoPE: as `svd_heads`, at run time. Throws `bad_argument` as `svd_heads` does, and where nothing is used.
/// Cost: two eigenproblems of t head_dim.
struct kq_svd {
  int rank = 0;  // 0: head_dim
  tightkv::origin origin = tightkv::origin::zero;

  head_projection merge(observed_group const& group) const;
};
static_assert(merger<kq_svd>);

}  // namespace tightkv
