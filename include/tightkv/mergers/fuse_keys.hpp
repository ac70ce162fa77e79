// SPDX-License-Identifier: Apache-2.0
/// Merged keys, written into W_K and W_Q.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <tightkv/mergers/commutes_with.hpp>
#include <tightkv/mergers/dense.hpp>
#include <tightkv/mergers/fusing.hpp>
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

namespace detail {

inline void check_key_weights(char const* who, attention_shape const& shape, key_weights const& w) {
  check_weight(who, "W_K must have a row per channel of the KV heads", w.key, shape.kv_heads * shape.key_dim,
               w.key.cols);
  check_weight(who, "W_Q must have a row per channel of the query heads", w.query, shape.query_heads * shape.key_dim,
               w.query.cols);
  check_bias(who, "the bias of W_K must have a number per row", w.key_bias, w.key.rows);
  check_bias(who, "the bias of W_Q must have a number per row", w.query_bias, w.query.rows);
}

/// up_i^T W for each query head, in the merged model's order, times `factor`.
inline matrix<float> times_up(attention_shape const& shape, head_groups const& groups,
                              std::span<head_projection const> projections, matrix_view<float const> w, double factor) {
  int const rank = projections[0].rank();
  auto const old_heads = query_head_order(shape, groups);
  matrix<float> result(shape.query_heads * rank, w.cols);
  for (std::size_t q = 0; q < old_heads.size(); ++q) {
    auto const [group, member] = place_of(groups, q, shape);
    auto const up = rows_of(projections[group].up.view(), member * shape.key_dim, shape.key_dim);
    auto const old = to_dense(rows_of(w, old_heads[q] * shape.key_dim, shape.key_dim));
    put(factor * multiply(transposed(to_dense(up)), old), result, static_cast<int>(q) * rank, 0);
  }
  return result;
}

}  // namespace detail

/// W_K' = down^T W_K per group and W_Q,q' = up_i^T W_Q,q for each query head q of KV head i, biases alike. Query heads
/// are in the order of `query_head_order`. Offsets are dropped: without RoPE a constant added to all keys changes no
/// attention weight.
///
///     auto const merged = tightkv::fuse_keys(shape, groups, projections, {w_k, w_q});
///
/// Computed in double, rounded once. Throws `bad_argument` where shapes do not match, for a model with QK-norm (the
/// norm lies between W_K and the cache), and for keys with RoPE unless each projection is of keys before it
/// (`alternating_heads`) or commutes with it (`commuting_heads`, `mean_heads`), and has no offset.
inline merged_keys fuse_keys(attention_shape const& shape, head_groups const& groups,
                             std::span<head_projection const> projections, key_weights const& weights,
                             softmax_scale scale = softmax_scale::of_head_dim) {
  constexpr auto who = "fuse_keys";
  detail::check_attention(who, shape);
  detail::expects(!shape.qk_norm, who,
                  "nothing fuses into W_K and W_Q where a norm follows them (QK-norm): apply the matrices at run time");
  detail::check_groups(who, groups, shape.kv_heads);
  detail::check_projections(who, projections, groups, shape.key_dim);
  detail::check_key_weights(who, shape, weights);
  for (auto const& p : projections) {
    bool const fuses = p.side == rope_side::before || commutes_with(p, shape.rotary);
    detail::expects(fuses && (shape.rotary.channels == 0 || p.offset.empty()), who,
                    "keys with RoPE fuse only by projections that commute with it or were made before it, and have no "
                    "offset");
  }

  int const rank = projections[0].rank();
  double const factor = scale == softmax_scale::of_rank ? std::sqrt(static_cast<double>(rank) / shape.key_dim) : 1.0;
  merged_keys result{detail::times_down(groups, projections, weights.key),
                     detail::times_up(shape, groups, projections, weights.query, factor),
                     detail::times_down(groups, projections, weights.key_bias),
                     {}};
  if (!weights.query_bias.empty()) {
    matrix_view<float const> const bias{weights.query_bias.data(), weights.query.rows, 1};
    auto const column = detail::times_up(shape, groups, projections, bias, factor);
    for (int r = 0; r < column.rows(); ++r) result.query_bias.push_back(column(r, 0));
  }
  return result;
}

}  // namespace tightkv
