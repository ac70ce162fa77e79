// SPDX-License-Identifier: Apache-2.0
/// Eigenvalues and eigenvectors by Eigen: the slowest part of it to compile, so in one place.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

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

/// m becomes Q m, Q being what made a matrix tridiagonal. Eigen's own way works in blocks: a little faster, and a third
/// of the time that all mergers take to compile.
template <class Matrix>
void apply_reflections(Eigen::Tridiagonalization<Matrix> const& of, Matrix& m) {
  auto const& packed = of.packedMatrix();
  for (Eigen::Index i = packed.rows() - 2; i >= 0; --i) {
    Eigen::VectorXd v = packed.col(i).tail(packed.rows() - 1 - i);
    v(0) = 1;
    for (Eigen::Index c = 0; c < m.cols(); ++c) {
      auto rows = m.col(c).tail(v.size());
      rows -= of.householderCoefficients()(i) * rows.dot(v) * v;
    }
  }
}

// A template, as is what calls it, so that only those who merge wait for the solver to be compiled.
template <class Matrix>
eigen_pairs eigen_pairs_of(Matrix const& symmetric) {
  if (symmetric.rows() == 0) return {};
  double const largest = symmetric.cwiseAbs().maxCoeff();
  double const scale = largest > 0 ? largest : 1;
  Eigen::Tridiagonalization<Matrix> const tridiagonal(symmetric / scale);
  Eigen::VectorXd const diagonal = tridiagonal.diagonal();
  Eigen::VectorXd const beside = tridiagonal.subDiagonal();
  Eigen::SelfAdjointEigenSolver<Matrix> solver;
  solver.computeFromTridiagonal(diagonal, beside);
  if (solver.info() != Eigen::Success) refuse("eigen_pairs", "the eigenvalues do not converge");
  Matrix vectors = solver.eigenvectors().rowwise().reverse();
  apply_reflections(tridiagonal, vectors);
  return {scale * solver.eigenvalues().reverse(), std::move(vectors)};
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
