// SPDX-License-Identifier: Apache-2.0
/// What the mergers need of Eigen, in one scalar type and few instantiations: compiling Eigen is slow.
#pragma once

#include <algorithm>
#include <cmath>

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <tightkv/core/error.hpp>
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

/// Eigenvalues, descending, and their unit eigenvectors in columns.
struct eigen_pairs {
  Eigen::VectorXd values;
  dense vectors;

  /// The sum of the eigenvalues from the r-th on. Rounding may have made those of a semi-definite matrix negative.
  double tail(Eigen::Index r) const {
    double sum = 0;
    for (Eigen::Index i = r; i < values.size(); ++i) sum += std::max(0.0, values(i));
    return sum;
  }
};

inline eigen_pairs eigen_pairs_of(dense const& symmetric) {
  if (symmetric.rows() == 0) return {};
  Eigen::SelfAdjointEigenSolver<dense> const solver(symmetric);
  if (solver.info() != Eigen::Success) refuse("eigen_pairs", "the eigenvalues do not converge");
  return {solver.eigenvalues().reverse(), solver.eigenvectors().rowwise().reverse()};
}

/// An eigenvector's sign is nobody's choice; ours is that the largest entry of a column of `leads` is positive.
/// `follows` changes sign along.
inline void fix_signs(dense& leads, dense& follows) {
  for (Eigen::Index c = 0; c < leads.cols(); ++c) {
    Eigen::Index largest = 0;
    for (Eigen::Index r = 1; r < leads.rows(); ++r) {
      if (std::abs(leads(r, c)) > std::abs(leads(largest, c))) largest = r;
    }
    if (leads(largest, c) < 0) {
      for (Eigen::Index r = 0; r < leads.rows(); ++r) {
        leads(r, c) = -leads(r, c);
        follows(r, c) = -follows(r, c);
      }
    }
  }
}

/// sum += columns columns^T, where column >= row.
inline void rank_update(matrix_view<double> sum, dense const& columns) {
  using strided_map = Eigen::Map<dense, 0, Eigen::OuterStride<>>;
  strided_map by_columns(sum.data, sum.rows, sum.cols, Eigen::OuterStride<>(sum.stride));
  by_columns.selfadjointView<Eigen::Lower>().rankUpdate(columns);
}

}  // namespace tightkv::detail
