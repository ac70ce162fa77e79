// SPDX-License-Identifier: Apache-2.0
/// What every merger gives: the matrices that make one head of several, and several of one.
#pragma once

#include <concepts>
#include <vector>

#include <tightkv/mergers/group_statistics.hpp>

namespace tightkv {

/// How much of something a merge keeps: sums of squares over the rows it is about.
struct energy {
  double total = 0;
  double lost = 0;

  double kept() const noexcept { return total > 0 ? 1 - lost / total : 1; }

  energy& operator+=(energy const& other) noexcept {
    total += other.total;
    lost += other.lost;
    return *this;
  }
};

/// t heads as one of `rank` channels: x' = x down is cached, and x' up_i^T + offset_i stands for head i's row, where x
/// is the rows of all t heads side by side and up_i the i-th block of head_dim rows of `up`.
///
/// Nothing is ever given back to its old width: `down` goes into W_K or W_V, `up_i` into W_Q or W_O, or both are
/// applied at run time.
struct head_projection {
  int heads = 1;
  matrix<double> down;         // (heads x head_dim) x rank
  matrix<double> up;           // the same
  std::vector<double> offset;  // heads x head_dim; empty where it is zero
  energy predicted;            // of what the merger minimises, on the statistics it was given

  int rank() const noexcept { return down.cols(); }
  int head_dim() const noexcept { return down.rows() / heads; }
};

/// A merger is an aggregate of its parameters: from statistics to a projection.
///
/// One that must know what rows are multiplied with takes an `observed_group`; giving it less does not compile.
template <class M>
concept merger = std::copyable<M> && requires(M const& m, observed_group const& g) {
  { m.merge(g) } -> std::same_as<head_projection>;
};

/// What a projection loses of any rows, seen as vectors: the sum of ||x - (x down up^T + offset)||^2. Works for rows
/// that the projection was not made from.
energy row_energy(head_projection const& p, group_statistics const& of);

/// What it loses of the rows' use: the sum over heads of ||(X_i - X'_i) U_i^T||^2, U_i being the queries (then these
/// are attention scores before the scale) or W_O (then these are what the heads add to the output).
energy use_energy(head_projection const& p, observed_group const& of);

}  // namespace tightkv
