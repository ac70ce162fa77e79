// SPDX-License-Identifier: Apache-2.0
/// KQ-SVD: the projection that loses least of what rows are used for: of scores, or of the layer's output.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>

#include <tightkv/mergers/eigen_pairs.hpp>
#include <tightkv/mergers/head_projection.hpp>
#include <tightkv/mergers/lost_energy.hpp>
#include <tightkv/mergers/svd_heads.hpp>

namespace tightkv {
namespace detail {

/// How many leading directions the rows have. The others are rounding: of what a float holds, the square of 1e-6.
inline Eigen::Index directions_present(eigen_pairs const& rows) {
  Eigen::Index count = 0;
  while (count < rows.values.size() && rows.values(count) > 1e-12 * rows.values(0)) ++count;
  return count;
}

/// blockdiag(uses) m
inline dense times_uses(observed_group const& group, dense const& m) {
  auto const dim = static_cast<Eigen::Index>(group.head_dim());
  auto const uses = to_dense(group.uses.view());
  double trace = 0;
  for (Eigen::Index a = 0; a < uses.rows(); ++a) trace += uses(a, a % dim);
  double const least = trace > 0 ? 1e-12 * trace / static_cast<double>(uses.rows()) : 1;
  dense result(m.rows(), m.cols());
  for (Eigen::Index first = 0; first < m.rows(); first += dim) {
    auto const rows = part(m, first, 0, dim, m.cols());
    result.middleRows(first, dim) = multiply(part(uses, first, 0, dim, dim), rows) + least * rows;
  }
  return result;
}

}  // namespace detail

/// Minimises the sum over the group's heads of ||(X_i - X'_i) U_i^T||_F^2: for keys U are the queries and the products
/// are attention scores; for values U_i is W_O,i^T and the products are what the heads add to the layer's output.
///
///     tightkv::kq_svd{.rank = 64}.merge(tightkv::group_of(keys, 9, {0, 1, 2}, tightkv::query_uses(queries)));
///     tightkv::kq_svd{}.merge(tightkv::group_of(values, 9, {0, 1, 2}, tightkv::output_uses(w_o, shape)));
///
/// With X^T X = E L E^T, S = L^(1/2) E^T and U_R the leading eigenvectors of S blockdiag(U_i^T U_i) S^T:
/// down = E L^(-1/2) U_R and up = E L^(1/2) U_R, up to a scale that gives each column of `down` length 1. Directions in
/// which rows have less than 1e-12 of the largest energy count as missing: they come last, as they are. Every direction
/// counts as used by 1e-12 of the mean at least, so that of what is not used at all the larger is kept. `down` is not
/// orthonormal, so the length of a cached row means nothing: do not evict by it. KQ-SVD, arXiv:2512.05916.
///
/// Keys with RoPE: as `svd_heads`, at run time. Throws `bad_argument` as `svd_heads` does. Cost: two eigenproblems of
/// t head_dim.
struct kq_svd {
  int rank = 0;  // 0: head_dim
  tightkv::origin origin = tightkv::origin::zero;

  head_projection merge(std::derived_from<observed_group> auto const& group) const {
    detail::check_observed("kq_svd", group);
    int const columns = detail::checked_rank("kq_svd", rank, group);
    auto const rows = detail::eigen_pairs_of(detail::products_about(origin, group.rows));
    auto const present = detail::directions_present(rows);
    auto const size = rows.vectors.rows();

    // S^T and its pseudo-inverse: the present directions, scaled by the root of their energy.
    auto times_root = detail::part(rows.vectors, 0, 0, size, present);
    auto by_root = times_root;
    for (Eigen::Index c = 0; c < present; ++c) {
      times_root.col(c) *= std::sqrt(rows.values(c));
      by_root.col(c) /= std::sqrt(rows.values(c));
    }
    auto const used = detail::multiply(detail::transposed(times_root), detail::times_uses(group, times_root));
    auto const pairs = detail::eigen_pairs_of(used);

    detail::dense down(size, columns);
    detail::dense up(size, columns);
    auto const leading = std::min<Eigen::Index>(present, columns);
    auto const vectors = detail::part(pairs.vectors, 0, 0, present, leading);
    auto const leading_down = detail::multiply(by_root, vectors);
    auto const leading_up = detail::multiply(times_root, vectors);
    for (Eigen::Index c = 0; c < columns; ++c) {
      bool const missing = c >= leading;
      double const length = missing ? 1 : leading_down.col(c).norm();
      for (Eigen::Index r = 0; r < size; ++r) {
        down(r, c) = missing ? rows.vectors(r, c) : leading_down(r, c) / length;
        up(r, c) = missing ? rows.vectors(r, c) : leading_up(r, c) * length;
      }
    }
    detail::fix_signs(down, up);
    head_projection result{group.heads,
                           detail::to_matrix(down),
                           detail::to_matrix(up),
                           detail::offset_about(origin, group.rows, down, up),
                           {}};
    result.predicted = use_energy(result, group);
    return result;
  }
};
static_assert(merger<kq_svd>);

}  // namespace tightkv
