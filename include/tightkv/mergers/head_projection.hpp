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

/// Whether a projection is of rows as they are cached, or of keys before RoPE turns them.
enum class rope_side { after, before };

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
  rope_side side = rope_side::after;

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

namespace detail {

inline void check_projection(char const* who, head_projection const& p) {
  bool const fits = p.heads >= 1 && p.down.rows() >= 1 && p.down.rows() % p.heads == 0 && p.rank() >= 1 &&
                    p.up.rows() == p.down.rows() && p.up.cols() == p.down.cols() &&
                    (p.offset.empty() || static_cast<int>(p.offset.size()) == p.down.rows());
  expects(fits, who, "down and up must be (heads x head_dim) x rank, the offset as long", "rows", p.down.rows(), "rank",
          p.rank());
}

/// The rank that a parameter asks for: 0 is head_dim.
inline int checked_rank(char const* who, int rank, group_statistics const& group) {
  expects(rank >= 0 && rank <= group.rows.size(), who, "rank must be at most the group's channels", "rank", rank,
          "channels", group.rows.size());
  return rank == 0 ? group.head_dim() : rank;
}

}  // namespace detail
}  // namespace tightkv
