// SPDX-License-Identifier: Apache-2.0
/// SVD of the cached rows: the projection that loses least of them.
#pragma once

#include <concepts>
#include <cstddef>
#include <vector>

#include <tightkv/mergers/eigen_pairs.hpp>
#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {

/// What a projection goes through: zero, or the mean of the rows.
enum class origin { zero, mean };

namespace detail {

/// X^T X, or that of the rows less their mean.
inline dense products_about(tightkv::origin from, gram const& rows) {
  dense products = to_dense(rows.products());
  if (from == origin::zero) return products;
  auto const count = static_cast<double>(rows.rows().added);
  for (int a = 0; a < rows.size(); ++a) {
    double const mean = rows.sums()[static_cast<std::size_t>(a)] / count;
    for (int b = 0; b < rows.size(); ++b) products(a, b) -= mean * rows.sums()[static_cast<std::size_t>(b)];
  }
  return products;
}

/// mean (I - down up^T)
inline std::vector<double> offset_about(tightkv::origin from, gram const& rows, dense const& down, dense const& up) {
  if (from == origin::zero) return {};
  dense mean(1, rows.size());
  for (int a = 0; a < rows.size(); ++a) {
    mean(0, a) = rows.sums()[static_cast<std::size_t>(a)] / static_cast<double>(rows.rows().added);
  }
  dense const kept = multiply(multiply(mean, down), transposed(up));
  std::vector<double> offset(static_cast<std::size_t>(rows.size()));
  for (int a = 0; a < rows.size(); ++a) offset[static_cast<std::size_t>(a)] = mean(0, a) - kept(0, a);
  return offset;
}

inline double trace(gram const& rows) {
  double sum = 0;
  for (int a = 0; a < rows.size(); ++a) sum += rows.products()(a, a);
  return sum;
}

}  // namespace detail

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

  head_projection merge(std::derived_from<group_statistics> auto const& group) const {
    detail::check_group("svd_heads", group);
    int const columns = detail::checked_rank("svd_heads", rank, group);
    auto const pairs = detail::eigen_pairs_of(detail::products_about(origin, group.rows));
    auto down = detail::part(pairs.vectors, 0, 0, pairs.vectors.rows(), columns);
    auto up = down;
    detail::fix_signs(down, up);
    return {group.heads,
            detail::to_matrix(down),
            detail::to_matrix(up),
            detail::offset_about(origin, group.rows, down, up),
            {.total = detail::trace(group.rows), .lost = pairs.tail(columns)}};
  }
};
static_assert(merger<svd_heads>);

}  // namespace tightkv
