// SPDX-License-Identifier: Apache-2.0
/// Matrix products by Eigen, in one scalar type and few instantiations: compiling Eigen is slow, so whoever needs no
/// more of it includes no more.
#pragma once

#include <Eigen/Core>
#include <tightkv/core/matrix.hpp>

namespace tightkv::detail {

using dense = Eigen::MatrixXd;

template <class T>
dense to_dense(matrix_view<T const> m) {
  dense result(m.rows, m.cols);
  for (int r = 0; r < m.rows; ++r) {
    for (int c = 0; c < m.cols; ++c) result(r, c) = static_cast<double>(m(r, c));
  }
  return result;
}

inline matrix<double> to_matrix(dense const& m) {
  matrix<double> result(static_cast<int>(m.rows()), static_cast<int>(m.cols()));
  for (int r = 0; r < result.rows(); ++r) {
    for (int c = 0; c < result.cols(); ++c) result(r, c) = m(r, c);
  }
  return result;
}

inline dense transposed(dense const& m) { return m.transpose(); }

inline void add_product(dense& sum, dense const& a, dense const& b) { sum.noalias() += a * b; }

inline dense multiply(dense const& a, dense const& b) {
  dense result = dense::Zero(a.rows(), b.cols());
  add_product(result, a, b);
  return result;
}

/// The part of `m` that begins at (row, col).
inline dense part(dense const& m, Eigen::Index row, Eigen::Index col, Eigen::Index rows, Eigen::Index cols) {
  return m.block(row, col, rows, cols);
}

/// sum += columns columns^T, where column >= row.
inline void rank_update(matrix_view<double> sum, dense const& columns) {
  using strided_map = Eigen::Map<dense, 0, Eigen::OuterStride<>>;
  strided_map by_columns(sum.data, sum.rows, sum.cols, Eigen::OuterStride<>(sum.stride));
  by_columns.selfadjointView<Eigen::Lower>().rankUpdate(columns);
}

}  // namespace tightkv::detail
