// SPDX-License-Identifier: Apache-2.0
/// Merging keys by what commutes with RoPE: everything fuses into the weights, any GQA engine runs the result.
#pragma once

#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {

/// RoPE turns the pair of channels of one frequency alike in all heads, so as complex numbers z in C^t it commutes with
/// any combination of heads. Per frequency f the leading eigenvector u_f of the sum of z z^H is kept:
/// k'_f = sum over i of conj(u_i) k_i, and q'_i = conj(u_i) q_i.
///
///     tightkv::commuting_heads{.rotary = {64, tightkv::rotary_pairs::interleaved}}.merge(group);
///
/// Minimises ||K - K'||_F^2 among those combinations; rank is head_dim. Channels that RoPE leaves alone (partial
/// rotary) are merged by `svd_heads`. Sees the same in keys before and after RoPE. Throws `bad_argument` as `svd_heads`
/// does. Cost: head_dim / 2 eigenproblems of 2 t.
struct commuting_heads {
  tightkv::rotary rotary;

  head_projection merge(group_statistics const& group) const;
};
static_assert(merger<commuting_heads>);

/// The same, where head i's pair at frequency f weighs as much as the queries that meet it: w = rms |q_{i,f}|.
/// Minimises the sum of w^2 |k - k'|^2, which is the expected squared error of scores at positions that have nothing to
/// do with each other. Channels that RoPE leaves alone are merged by `kq_svd`. A pair that no query meets counts for
/// next to nothing.
struct commuting_query_heads {
  tightkv::rotary rotary;

  head_projection merge(observed_group const& group) const;
};
static_assert(merger<commuting_query_heads>);

}  // namespace tightkv
