// SPDX-License-Identifier: Apache-2.0
/// Eigenvalues and eigenvectors by Eigen: the slowest part of it to compile, so in one place.
#pragma once

#include <algorithm>
#include <cmath>

#include <Eigen/Eigenvalues>
#include <tightkv/core/error.hpp>
#include <tightkv/mergers/dense.hpp>

namespace tightkv::detail {

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

// A template, as is what calls it, so that only those who merge wait for the solver to be compiled.
template <class Matrix>
eigen_pairs eigen_pairs_of(Matrix const& symmetric) {
  if (symmetric.rows() == 0) return {};
  Eigen::SelfAdjointEigenSolver<Matrix> const solver(symmetric);
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

}  // namespace tightkv::detail
