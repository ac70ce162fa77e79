// SPDX-License-Identifier: Apache-2.0
/// Merged keys, written into W_K and W_Q; or, where RoPE forbids it, as matrices for run time.
#pragma once

#include <span>
#include <vector>

#include <tightkv/mergers/head_groups.hpp>
#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {

/// The weights that keys and queries pass through. Matrices have a row per output feature, as Hugging Face's `weight`
/// and a GGUF tensor's rows: `key` is (kv_heads x key_dim) x hidden, `query` is (query_heads x key_dim) x hidden.
/// Biases may be empty.
struct key_weights {
  matrix_view<float const> key;
  matrix_view<float const> query;
  std::span<float const> key_bias = {};
  std::span<float const> query_bias = {};
};

/// The same with fewer KV heads: `key` is (groups x rank) x hidden, `query` is (query_heads x rank) x hidden.
struct merged_keys {
  matrix<float> key;
  matrix<float> query;
  std::vector<float> key_bias;    // empty where there was none
  std::vector<float> query_bias;  // empty where there was none
};

/// What the engine that runs the result divides logits by: the root of the old head_dim, or of the rank. In the latter
/// case the quotient goes into W_Q.
enum class softmax_scale { of_head_dim, of_rank };

/// W_K' = down^T W_K per group and W_Q,q' = up_i^T W_Q,q for each query head q of KV head i, biases alike. Query heads
/// are in the order of `query_head_order`. Offsets are dropped: without RoPE a constant added to all keys changes no
/// attention weight.
///
/// Computed in double, rounded once. Throws `bad_argument` where shapes do not match, for a model with QK-norm (the
/// norm lies between W_K and the cache), and for keys with RoPE unless each projection commutes with it
/// (`commuting_heads`, `mean_heads`) and has no offset.
merged_keys fuse_keys(attention_shape const& shape, head_groups const& groups,
                      std::span<head_projection const> projections, key_weights const& weights,
                      softmax_scale scale = softmax_scale::of_head_dim);

/// Whether projecting before or after RoPE is the same for every position.
bool commutes_with(head_projection const& p, rotary const& turned);

/// Matrices for `project_heads`, applied to keys after RoPE and before they are cached, and to queries before
/// attention.
struct run_time_keys {
  matrix<float> key;    // a (heads x key_dim) x rank matrix per group, one below the other
  matrix<float> query;  // a key_dim x rank matrix per old KV head, in the order of the groups
};

/// The projections of all groups of a layer as matrices for run time. The softmax scale stays that of the old head_dim.
/// Weights stay as they are, save that heads move where groups are not neighbours: see `reorder_keys`.
run_time_keys stack(std::span<head_projection const> projections);

/// W_K and W_Q with their heads in the order of the groups, and nothing else changed.
merged_keys reorder_keys(attention_shape const& shape, head_groups const& groups, key_weights const& weights);

}  // namespace tightkv
