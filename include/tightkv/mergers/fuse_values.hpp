// SPDX-License-Identifier: Apache-2.0
/// Merged values, written into W_V and W_O.
#pragma once

#include <span>
#include <vector>

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
merged_values fuse_values(attention_shape const& shape, head_groups const& groups,
                          std::span<head_projection const> projections, value_weights const& weights);

}  // namespace tightkv
