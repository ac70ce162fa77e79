// SPDX-License-Identifier: Apache-2.0
/// What RoPE makes of a matrix of products on average over the distances between a query and the keys it sees.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include <tightkv/mergers/attention_shape.hpp>
#include <tightkv/mergers/dense.hpp>

namespace tightkv {

/// How far apart queries and keys are: a distance d below `reach` counts as 1 / (1 + d), much as attention does. `base`
/// is RoPE's: pair f turns by base^(-2f / channels) a position.
struct rope_distances {
  double base = 10000;
  int reach = 1024;  // tokens: the length of contexts that one has in mind
};

namespace detail {

/// The means of R_d M R_d^T and of R_d^T M R_d over the distances, R_d being RoPE's turn of a key seen from a
/// query d tokens later.
class rope_average {
 public:
  rope_average(rotary const& turned, rope_distances const& over, int head_dim)
      : partner_(static_cast<std::size_t>(head_dim)),
        sign_(partner_.size()),
        cos_cos_(dense::Zero(head_dim, head_dim)),
        cos_sin_(cos_cos_),
        sin_sin_(cos_cos_) {
    std::vector<double> frequency(partner_.size());
    for (std::size_t c = 0; c < partner_.size(); ++c) partner_[c] = static_cast<Eigen::Index>(c);
    for (int f = 0; f < turned.frequencies(); ++f) {
      auto const re = static_cast<std::size_t>(turned.real(f));
      auto const im = static_cast<std::size_t>(turned.imaginary(f));
      frequency[re] = frequency[im] = std::pow(over.base, -2.0 * f / turned.channels);
      partner_[re] = static_cast<Eigen::Index>(im);
      partner_[im] = static_cast<Eigen::Index>(re);
      sign_[re] = 1;
      sign_[im] = -1;
    }
    sum_over(over, frequency);
  }

  /// The mean of R M R^T.
  dense turned(dense const& m) const { return mean(m, 1); }
  /// The mean of R^T M R.
  dense turned_back(dense const& m) const { return mean(m, -1); }

 private:
  void sum_over(rope_distances const& over, std::vector<double> const& frequency) {
    auto const dim = static_cast<Eigen::Index>(frequency.size());
    Eigen::VectorXd cos(dim);
    Eigen::VectorXd sin(dim);
    double total = 0;
    for (int d = 0; d < over.reach; ++d) {
      double const weight = 1.0 / (1 + d);
      total += weight;
      for (Eigen::Index c = 0; c < dim; ++c) {
        cos(c) = std::cos(frequency[static_cast<std::size_t>(c)] * d);
        sin(c) = std::sin(frequency[static_cast<std::size_t>(c)] * d);
      }
      for (Eigen::Index b = 0; b < dim; ++b) {
        for (Eigen::Index a = 0; a < dim; ++a) {
          cos_cos_(a, b) += weight * cos(a) * cos(b);
          cos_sin_(a, b) += weight * cos(a) * sin(b);
          sin_sin_(a, b) += weight * sin(a) * sin(b);
        }
      }
    }
    cos_cos_ /= total;
    cos_sin_ /= total;
    sin_sin_ /= total;
  }

  // Channel a turned is cos_a x_a + direction sign_a sin_a x_partner(a); one that RoPE leaves alone has no sine.
  dense mean(dense const& m, double direction) const {
    dense result(m.rows(), m.cols());
    for (Eigen::Index b = 0; b < m.cols(); ++b) {
      auto const b_partner = partner_[static_cast<std::size_t>(b)];
      double const of_b = direction * sign_[static_cast<std::size_t>(b)];
      for (Eigen::Index a = 0; a < m.rows(); ++a) {
        auto const a_partner = partner_[static_cast<std::size_t>(a)];
        double const of_a = direction * sign_[static_cast<std::size_t>(a)];
        result(a, b) = cos_cos_(a, b) * m(a, b) + of_b * cos_sin_(a, b) * m(a, b_partner) +
                       of_a * cos_sin_(b, a) * m(a_partner, b) + of_a * of_b * sin_sin_(a, b) * m(a_partner, b_partner);
      }
    }
    return result;
  }

  std::vector<Eigen::Index> partner_;
  std::vector<double> sign_;
  dense cos_cos_;
  dense cos_sin_;
  dense sin_sin_;
};

}  // namespace detail
}  // namespace tightkv
