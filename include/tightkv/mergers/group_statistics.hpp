// SPDX-License-Identifier: Apache-2.0
/// What a merger sees of the heads it makes one of.
#pragma once

#include <span>
#include <vector>

#include <tightkv/mergers/attention_shape.hpp>
#include <tightkv/mergers/gram.hpp>

namespace tightkv {

/// The rows of a group of t heads, side by side, as a Gram matrix of t head_dim channels.
///
/// For keys with RoPE these are the rows as they are cached, after it: the commuting mergers see the same numbers
/// before and after, since all heads of a token are turned alike.
struct group_statistics {
  int heads = 1;
  gram rows;

  int head_dim() const noexcept { return rows.size() / heads; }
};

/// A group, and what its rows are multiplied with: `uses` holds, one below the other, a head_dim x head_dim Gram matrix
/// per head. For keys these are the queries, for values it is W_O.
struct observed_group : group_statistics {
  matrix<double> uses;
};

/// The group's part of the sums over a whole layer.
///
///     auto const group = tightkv::group_of(all_keys, {.kv_heads = 8, ...}, {{0, 1, 2, 3}});
///
/// `layer` has kv_heads x head_dim channels. Throws `bad_argument` for a head that it does not have.
group_statistics group_of(gram const& layer, int kv_heads, std::vector<int> const& heads);

/// The same, with what the rows are multiplied with; `uses` has a matrix per KV head of the layer (see `query_uses`,
/// `output_uses`).
observed_group group_of(gram const& layer, int kv_heads, std::vector<int> const& heads, matrix<double> const& uses);

/// For keys: the Gram matrices of the queries of each KV head, summed over the query heads that use it.
matrix<double> query_uses(std::span<gram const> queries_of_each_kv_head);

/// For values: W_O,i^T W_O,i of each KV head, summed over the query heads that use it. `output` is W_O with a row per
/// output feature: hidden x (query_heads x value_dim).
matrix<double> output_uses(matrix_view<float const> output, attention_shape const& shape);

/// The statistics of white inputs: what SVD on weights (SVD-w) looks at. `weight` is W_K or W_V with a row per output
/// feature: (kv_heads x head_dim) x hidden. Gives W W^T, as if the columns were calibration rows.
gram weight_gram(matrix_view<float const> weight);

}  // namespace tightkv
