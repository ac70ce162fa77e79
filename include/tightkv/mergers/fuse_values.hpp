// SPDX-License-Identifier: Apache-2.0
/// Merged values, written into W_V and W_O.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <tightkv/mergers/fusing.hpp>
#include <tightkv/mergers/head_groups.hpp>
#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {

/// The weights that values pass through. Matrices have a row per output feature, as Hugging Face's `weight` and a GGUF
/// tensor's rows: `value` is (kv_heads x value_dim) x hidden, `output` is hidden x (query_heads x value_dim). Biases
/// may be empty.
struct value_weights {
  matrix_view<float const> value;
  matrix_view<float const> output;
  std::span<float const> value_bias = {};
  std::span<float const> output_bias = {};
};

/// The same with fewer KV heads: `value` is (groups x rank) x hidden, `output` is hidden x (query_heads x rank).
struct merged_values {
  matrix<float> value;
  matrix<float> output;
  std::vector<float> value_bias;   // empty where there was none
  std::vector<float> output_bias;  // empty where there was none and no projection has an offset
};

/// W_V' = down^T W_V and b_V' = down^T b_V per group; W_O,q' = W_O,q up_i for each query head q of KV head i; offsets
/// go through W_O into its bias. Query heads are in the order of `query_head_order`.
///
///     auto const merged = tightkv::fuse_values(shape, groups, projections, {w_v, w_o});
///
/// One projection per group. Computed in double, rounded once. Throws `bad_argument` where shapes do not match.
inline merged_values fuse_values(attention_shape const& shape, head_groups const& groups,
                                 std::span<head_projection const> projections, value_weights const& weights) {
  constexpr auto who = "fuse_values";
  detail::check_attention(who, shape);
  detail::check_groups(who, groups, shape.kv_heads);
  detail::check_projections(who, projections, groups, shape.value_dim);
  detail::check_weight(who, "W_V must have a row per channel of the KV heads", weights.value,
                       shape.kv_heads * shape.value_dim, weights.value.cols);
  detail::check_weight(who, "W_O must have a column per channel of the query heads", weights.output,
                       weights.output.rows, shape.query_heads * shape.value_dim);
  detail::check_bias(who, "the bias of W_V must have a number per row", weights.value_bias, weights.value.rows);
  detail::check_bias(who, "the bias of W_O must have a number per row", weights.output_bias, weights.output.rows);

  int const rank = projections[0].rank();
  int const hidden = weights.output.rows;
  merged_values result{detail::times_down(groups, projections, weights.value),
                       {hidden, shape.query_heads * rank},
                       detail::times_down(groups, projections, weights.value_bias),
                       {weights.output_bias.begin(), weights.output_bias.end()}};
  std::vector<double> bias(static_cast<std::size_t>(hidden));
  bool has_offset = false;
  auto const old_heads = query_head_order(shape, groups);
  for (std::size_t q = 0; q < old_heads.size(); ++q) {
    auto const [group, member] = detail::place_of(groups, q, shape);
    auto const& p = projections[group];
    detail::dense const old =
        detail::to_dense(detail::columns_of(weights.output, old_heads[q] * shape.value_dim, shape.value_dim));
    auto const up = detail::rows_of(p.up.view(), member * shape.value_dim, shape.value_dim);
    detail::put(detail::multiply(old, detail::to_dense(up)), result.output, 0, static_cast<int>(q) * rank);
    if (p.offset.empty()) continue;
    has_offset = true;
    for (int r = 0; r < hidden; ++r) {
      for (int d = 0; d < shape.value_dim; ++d) {
        bias[static_cast<std::size_t>(r)] +=
            old(r, d) * p.offset[static_cast<std::size_t>(member * shape.value_dim + d)];
      }
    }
  }
  if (has_offset) {
    result.output_bias.resize(bias.size());
    for (std::size_t r = 0; r < bias.size(); ++r) {
      result.output_bias[r] = static_cast<float>(static_cast<double>(result.output_bias[r]) + bias[r]);
    }
  }
  return result;
}

}  // namespace tightkv
