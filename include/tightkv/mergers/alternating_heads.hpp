// SPDX-License-Identifier: Apache-2.0
/// Merging keys before RoPE by what keeps the scores: everything fuses into the weights, any GQA engine runs the
/// result.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <vector>

#include <Eigen/Cholesky>
#include <tightkv/mergers/commuting_heads.hpp>
#include <tightkv/mergers/head_projection.hpp>
#include <tightkv/mergers/rope_average.hpp>

namespace tightkv {
namespace detail {

/// S^-1 M for a symmetric S that may lack directions: each channel counts for a part in 1e10 more than it does,
/// whatever its scale.
inline dense solved(dense symmetric, dense m) {
  auto const size = symmetric.rows();
  Eigen::VectorXd scale(size);
  for (Eigen::Index i = 0; i < size; ++i) scale(i) = symmetric(i, i) > 0 ? 1 / std::sqrt(symmetric(i, i)) : 1;
  for (Eigen::Index c = 0; c < size; ++c) {
    for (Eigen::Index r = 0; r < size; ++r) symmetric(r, c) *= scale(r) * scale(c);
    symmetric(c, c) += 1e-10;
  }
  for (Eigen::Index r = 0; r < size; ++r) m.row(r) *= scale(r);
  Eigen::LLT<dense> const solver(symmetric);
  expects(solver.info() == Eigen::Success, "alternating_heads", "the statistics must be finite");
  dense result = solver.solve(m);
  for (Eigen::Index r = 0; r < size; ++r) result.row(r) *= scale(r);
  return result;
}

/// The two halves of alternating least squares. All is before RoPE: keys k of t heads side by side, head i's queries
/// q_i, k' = k down and q'_i = q_i up_i. Minimised is the sum over heads of the mean over distances of
/// ||q_i R k_i^T - q'_i R k'^T||^2, R being RoPE.
class score_fit {
 public:
  score_fit(observed_group const& group, rope_average const& average)
      : average_(average),
        heads_(group.heads),
        dim_(group.head_dim()),
        keys_(to_dense(group.rows.products())),
        queries_(to_dense(group.uses.view())) {}

  /// The best queries for these keys: up_i^T = [mean R (k'^T k') R^T]^-1 [mean R (k'^T k_i) R^T].
  dense up_for(dense const& down) const {
    auto const with_keys = multiply(transposed(down), keys_);
    auto const own = average_.turned(multiply(with_keys, down));
    dense up(keys_.rows(), down.cols());
    for (int i = 0; i < heads_; ++i)
      up.middleRows(i * dim_, dim_) = transposed(solved(own, average_.turned(columns(with_keys, i))));
    return up;
  }

  /// The best keys for these queries: down_i^T = [sum_j mean R^T (q'_j^T q'_j) R]^-1 [mean R^T (q'_i^T q_i) R].
  dense down_for(dense const& up) const {
    dense own = dense::Zero(dim_, dim_);
    dense with_queries(dim_, keys_.rows());
    for (int i = 0; i < heads_; ++i) {
      auto const of_head = multiply(transposed(rows(up, i)), rows(queries_, i));
      own += average_.turned_back(multiply(of_head, rows(up, i)));
      with_queries.middleCols(i * dim_, dim_) = average_.turned_back(of_head);
    }
    return transposed(solved(own, with_queries));
  }

  energy lost(dense const& down, dense const& up) const {
    auto const with_keys = multiply(transposed(down), keys_);
    auto const own = average_.turned(multiply(with_keys, down));
    energy result;
    for (int i = 0; i < heads_; ++i) {
      auto const queries = rows(queries_, i);
      auto const new_queries = multiply(queries, rows(up, i));  // q_i^T q'_i
      double const total = product(queries, average_.turned(columns(rows(keys_, i), i)));
      double const shared = product(transposed(new_queries), average_.turned(columns(with_keys, i)));
      double const of_new = product(multiply(transposed(rows(up, i)), new_queries), own);
      result += {.total = total, .lost = total - 2 * shared + of_new};
    }
    result.lost = std::max(0.0, result.lost);
    return result;
  }

 private:
  dense rows(dense const& m, int head) const { return part(m, head * dim_, 0, dim_, m.cols()); }
  dense columns(dense const& m, int head) const { return part(m, 0, head * dim_, m.rows(), dim_); }
  static double product(dense const& a, dense const& b) {
    double sum = 0;
    for (Eigen::Index c = 0; c < a.cols(); ++c) {
      for (Eigen::Index r = 0; r < a.rows(); ++r) sum += a(r, c) * b(r, c);
    }
    return sum;
  }

  rope_average const& average_;
  int heads_;
  int dim_;
  dense keys_;
  dense queries_;
};

/// Gives the columns of `down` a mean length of 1. Channels that turn together keep their proportion.
inline void even_out(dense& down, dense& up, rotary const& turned) {
  auto const scale = [&](Eigen::Index a, Eigen::Index b) {
    double const length = std::sqrt((down.col(a).squaredNorm() + down.col(b).squaredNorm()) / 2);
    if (length == 0) return;
    for (auto const c : {a, b}) {
      down.col(c) /= length;
      up.col(c) *= length;
      if (a == b) break;
    }
  };
  for (int f = 0; f < turned.frequencies(); ++f) scale(turned.real(f), turned.imaginary(f));
  for (Eigen::Index c = turned.channels; c < down.cols(); ++c) scale(c, c);
}

}  // namespace detail

/// Minimises the scores' error where commuting with RoPE is not asked for: RoPE turns slow channels so little between a
/// query and the keys it sees that heads may exchange them freely, and W_Q makes up for what the others lose.
///
///     tightkv::alternating_heads{shape.rotary, {.base = 10000, .reach = 4096}}.merge(
///         tightkv::group_of(keys, 9, {0, 1, 2}, tightkv::query_uses(queries)));   // both before RoPE
///
/// From `commuting_query_heads` on, by turns the queries are fitted to the keys and the keys to the queries: `steps`
/// times both, then the queries once more; 0 steps refit W_Q alone. Each is linear least squares, in closed form, from
/// the sums of keys and queries and from what RoPE does to products of channels on average over the distances between
/// them. The error never grows; half a dozen steps are nearly all of it. `predicted` is of scores at those distances.
///
/// The statistics must be of keys and queries before RoPE, and `fuse_keys` writes the result into the weights; nothing
/// is done at run time. Throws `bad_argument` as `commuting_query_heads` does, and for a reach below one token or a
/// base that is not positive. Cost: reach head_dim^2 for the averages, and a step 4 t^2 head_dim^3.
struct alternating_heads {
  tightkv::rotary rotary;
  rope_distances over = {};
  int steps = 12;

  head_projection merge(std::derived_from<observed_group> auto const& group) const {
    constexpr auto who = "alternating_heads";
    detail::expects(over.base > 0 && over.reach >= 1, who, "needs a positive base and a reach of a token at least",
                    "base", over.base, "reach", over.reach);
    detail::expects(steps >= 0, who, "steps must not be negative", "steps", steps);
    head_projection const start = commuting_query_heads{rotary}.merge(group);
    detail::rope_average const average(rotary, over, group.head_dim());
    detail::score_fit const fit(group, average);
    auto down = detail::to_dense(start.down.view());
    auto up = fit.up_for(down);
    for (int i = 0; i < steps; ++i) {
      down = fit.down_for(up);
      up = fit.up_for(down);
    }
    detail::even_out(down, up, rotary);
    return {.heads = group.heads,
            .down = detail::to_matrix(down),
            .up = detail::to_matrix(up),
            .offset = {},
            .predicted = fit.lost(down, up),
            .side = rope_side::before};
  }
};
static_assert(merger<alternating_heads>);

}  // namespace tightkv
