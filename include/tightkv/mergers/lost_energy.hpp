// SPDX-License-Identifier: Apache-2.0
/// What a projection loses of rows it need not have been made from, and of what they are used for.
#pragma once

#include <algorithm>
#include <cstddef>

#include <tightkv/mergers/dense.hpp>
#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {
namespace detail {

/// The sum over heads of ||X_i U_i^T||^2.
inline double total_use(observed_group const& group) {
  int const dim = group.head_dim();
  double sum = 0;
  for (int a = 0; a < group.rows.size(); ++a) {
    for (int b = 0; b < dim; ++b) sum += group.rows.products()(a, a / dim * dim + b) * group.uses(a, b);
  }
  return sum;
}

/// The Gram matrix of what a projection leaves of the rows: residuals x (I - down up^T) - offset.
inline dense residual_products(char const* who, head_projection const& p, group_statistics const& of) {
  check_projection(who, p);
  check_group(who, of);
  expects(p.down.rows() == of.rows.size() && p.heads == of.heads, who,
          "projection and statistics must be of the same heads", "projection", p.down.rows(), "statistics",
          of.rows.size());
  auto const size = static_cast<Eigen::Index>(of.rows.size());
  dense left = multiply(to_dense(p.down.view()), transposed(to_dense(p.up.view())));
  for (Eigen::Index a = 0; a < size; ++a) {
    for (Eigen::Index b = 0; b < size; ++b) left(a, b) = (a == b ? 1 : 0) - left(a, b);
  }
  dense products = multiply(transposed(left), multiply(to_dense(of.rows.products()), left));
  if (p.offset.empty()) return products;
  dense sums(1, size);
  for (Eigen::Index a = 0; a < size; ++a) sums(0, a) = of.rows.sums()[static_cast<std::size_t>(a)];
  sums = multiply(sums, left);
  auto const rows = static_cast<double>(of.rows.rows().added);
  for (Eigen::Index a = 0; a < size; ++a) {
    for (Eigen::Index b = 0; b < size; ++b) {
      double const at_a = p.offset[static_cast<std::size_t>(a)];
      double const at_b = p.offset[static_cast<std::size_t>(b)];
      products(a, b) += rows * at_a * at_b - sums(0, a) * at_b - at_a * sums(0, b);
    }
  }
  return products;
}

}  // namespace detail

/// What a projection loses of any rows, seen as vectors: the sum of ||x - (x down up^T + offset)||^2, and of ||x||^2.
/// The rows need not be those that the projection was made from. Throws `bad_argument` where heads or channels differ.
inline energy row_energy(head_projection const& p, group_statistics const& of) {
  auto const residual = detail::residual_products("row_energy", p, of);
  energy result;
  for (int a = 0; a < of.rows.size(); ++a) {
    result.total += of.rows.products()(a, a);
    result.lost += residual(a, a);
  }
  result.lost = std::max(0.0, result.lost);
  return result;
}

/// What it loses of the rows' use: the sum over heads of ||(X_i - X'_i) U_i^T||^2, and of ||X_i U_i^T||^2, U_i being
/// the queries (then these are attention scores before the scale) or W_O^T (then these are what heads add to the
/// output).
inline energy use_energy(head_projection const& p, observed_group const& of) {
  detail::check_observed("use_energy", of);
  auto const residual = detail::residual_products("use_energy", p, of);
  int const dim = of.head_dim();
  energy result{.total = detail::total_use(of)};
  for (int a = 0; a < of.rows.size(); ++a) {
    for (int b = 0; b < dim; ++b) result.lost += residual(a, a / dim * dim + b) * of.uses(a, b);
  }
  result.lost = std::max(0.0, result.lost);
  return result;
}

}  // namespace tightkv
