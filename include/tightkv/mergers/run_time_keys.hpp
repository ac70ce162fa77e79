// SPDX-License-Identifier: Apache-2.0
/// Merged keys where RoPE or a norm forbids fusing: matrices that are applied at run time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include <tightkv/mergers/fuse_keys.hpp>
#include <tightkv/mergers/fusing.hpp>
#include <tightkv/mergers/head_groups.hpp>
#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {

/// Matrices for `project_heads`, applied to keys after RoPE and before they are cached, and to queries before
/// attention. The softmax scale stays that of the old head_dim.
struct run_time_keys {
  matrix<float> key;    // a (t x key_dim) x rank matrix per group of t heads, one below the other
  matrix<float> query;  // a key_dim x rank matrix per old KV head, in the order of the groups
};

/// The projections of all groups of a layer, one below the other. Weights stay as they are, save that heads move where
/// groups are not neighbours: see `reorder_keys`.
///
///     auto const matrices = tightkv::stack(projections);
///     tightkv::project_heads(ex, keys, matrices.key.view(), cached_keys);
///     tightkv::project_heads(ex, queries, matrices.query.view(), queries_of_the_rank);
///
/// Throws `bad_argument` where groups differ in shape, for projections of keys before RoPE, and for an offset: a
/// constant part of keys turns with RoPE.
inline run_time_keys stack(std::span<head_projection const> projections) {
  detail::expects(!projections.empty(), "stack", "needs at least one projection");
  auto const& first = projections[0];
  int const rows = first.down.rows();
  run_time_keys result{{static_cast<int>(projections.size()) * rows, first.rank()},
                       {static_cast<int>(projections.size()) * rows, first.rank()}};
  int at = 0;
  for (auto const& p : projections) {
    detail::check_projection("stack", p);
    detail::expects(p.down.rows() == rows && p.rank() == first.rank() && p.heads == first.heads, "stack",
                    "all groups must have the same shape", "rows", p.down.rows(), "first", rows);
    detail::expects(p.side == rope_side::after, "stack", "projections of keys before RoPE are for fuse_keys");
    detail::expects(p.offset.empty(), "stack", "keys projected at run time cannot have an offset");
    for (int r = 0; r < rows; ++r, ++at) {
      for (int c = 0; c < p.rank(); ++c) {
        result.key(at, c) = static_cast<float>(p.down(r, c));
        result.query(at, c) = static_cast<float>(p.up(r, c));
      }
    }
  }
  return result;
}

/// W_K and W_Q with their heads in the order of the groups, and nothing else changed. Works with QK-norm too.
inline merged_keys reorder_keys(attention_shape const& shape, head_groups const& groups, key_weights const& weights) {
  detail::check_attention("reorder_keys", shape);
  detail::check_groups("reorder_keys", groups, shape.kv_heads);
  detail::check_key_weights("reorder_keys", shape, weights);
  std::vector<int> key_heads;
  for (auto const& group : groups) key_heads.insert(key_heads.end(), group.begin(), group.end());
  auto const query_heads = query_head_order(shape, groups);

  auto const rows = [&](matrix_view<float const> w, std::vector<int> const& order) {
    matrix<float> result(w.rows, w.cols);
    for (int r = 0; r < w.rows; ++r) {
      int const from = order[static_cast<std::size_t>(r / shape.key_dim)] * shape.key_dim + r % shape.key_dim;
      std::copy_n(w.row(from), w.cols, result.view().row(r));
    }
    return result;
  };
  auto const numbers = [&](std::span<float const> bias, std::vector<int> const& order) {
    std::vector<float> result;
    if (bias.empty()) return result;
    auto const column = rows({bias.data(), static_cast<int>(bias.size()), 1}, order);
    for (int r = 0; r < column.rows(); ++r) result.push_back(column(r, 0));
    return result;
  };
  return {rows(weights.key, key_heads), rows(weights.query, query_heads), numbers(weights.key_bias, key_heads),
          numbers(weights.query_bias, query_heads)};
}

}  // namespace tightkv
