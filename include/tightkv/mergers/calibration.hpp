// SPDX-License-Identifier: Apache-2.0
/// The statistics of a whole model: what a calibration run fills, and shards of it add up to.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tightkv/mergers/attention_shape.hpp>
#include <tightkv/mergers/gram.hpp>

namespace tightkv {

/// The sums of one layer: keys and values as they are cached, all KV heads side by side, and queries after RoPE, those
/// of each KV head.
struct layer_sums {
  gram keys;
  gram values;
  std::vector<gram> queries;

  layer_sums() = default;
  explicit layer_sums(attention_shape const& shape) {
    detail::check_attention("layer_sums", shape);
    keys = gram(shape.kv_heads * shape.key_dim);
    values = gram(shape.kv_heads * shape.value_dim);
    queries.assign(static_cast<std::size_t>(shape.kv_heads), gram(shape.key_dim));
  }

  /// Adds a sequence's tokens, a chunk of any length at a time: planes of the chunk's rows. The first `skip` of them
  /// are left out.
  template <executor E, readable_plane K, readable_plane V, readable_plane Q>
  requires reachable_from<K, E> && reachable_from<V, E> && reachable_from<Q, E>
  void add(E const& ex, K const& key_rows, V const& value_rows, Q const& query_rows, int skip = 0) {
    auto const heads = static_cast<int>(queries.size());
    detail::expects(heads >= 1, "layer_sums", "has no heads: it was made without a shape");
    auto const has_rows_of = [&](auto const& rows, gram const& sums, int of_heads) {
      return rows.heads() == of_heads && rows.heads() * rows.head_dim() == sums.size();
    };
    detail::expects(has_rows_of(key_rows, keys, heads) && has_rows_of(value_rows, values, heads), "layer_sums",
                    "keys and values must be of the model's heads", "keys", key_rows.heads(), "values",
                    value_rows.heads());
    bool const shared_evenly = query_rows.heads() >= heads && query_rows.heads() % heads == 0;
    detail::expects(shared_evenly && query_rows.head_dim() == key_rows.head_dim(), "layer_sums",
                    "queries must be of a multiple of the KV heads, as long as keys", "query_heads", query_rows.heads(),
                    "head_dim", query_rows.head_dim());
    for (int q = 0; q < query_rows.heads(); ++q) {
      int const h = q * heads / query_rows.heads();
      bool const as_long = key_rows.tokens(h) == key_rows.tokens(0) && value_rows.tokens(h) == key_rows.tokens(0) &&
                           query_rows.tokens(q) == key_rows.tokens(0);
      detail::expects(as_long, "layer_sums", "all rows must be of the same tokens", "query_head", q, "tokens",
                      query_rows.tokens(q));
    }
    detail::expects(skip >= 0, "layer_sums", "skip must not be negative", "skip", skip);
    int const sharing = query_rows.heads() / heads;
    keys.add(ex, key_rows, {.heads = heads, .skip = skip});
    values.add(ex, value_rows, {.heads = heads, .skip = skip});
    for (int q = 0; q < query_rows.heads(); ++q) {
      queries[static_cast<std::size_t>(q / sharing)].add(ex, query_rows, {.first = q, .skip = skip});
    }
  }

  layer_sums& operator+=(layer_sums const& other) {
    keys += other.keys;
    values += other.values;
    for (std::size_t h = 0; h < queries.size(); ++h) queries[h] += other.queries[h];
    return *this;
  }
};

/// The sums of all layers, and which model they are about.
///
///     tightkv::calibration sums("SmolLM2-135M", shape, 30);
///     sums.layers[0].add(ex, keys, values, queries);
///     sums += of_another_shard;                  // refused if it is about another model
///     tightkv::save("sums.safetensors", sums);   // <tightkv/interop/safetensors_calibration.hpp>
struct calibration {
  std::string model;
  attention_shape shape;
  std::vector<layer_sums> layers;

  explicit calibration(std::string name, attention_shape const& of, int layer_count = 0)
      : model(std::move(name)), shape(of) {
    detail::check_attention("calibration", of);
    detail::expects(layer_count >= 0, "calibration", "layers must not be negative", "layers", layer_count);
    for (int i = 0; i < layer_count; ++i) layers.emplace_back(of);
  }

  /// Throws `bad_argument` unless these are statistics of that model.
  void expect_about(std::string_view name, attention_shape const& of, int layer_count) const {
    detail::expects(model == name, "calibration", "the statistics are of another model", "model", name, "statistics",
                    model);
    bool const same_heads = shape == of;
    detail::expects(same_heads, "calibration", "the statistics are of other heads: channels per layer differ, or RoPE",
                    "keys", of.kv_heads * of.key_dim, "statistics", shape.kv_heads * shape.key_dim);
    detail::expects(static_cast<int>(layers.size()) == layer_count, "calibration",
                    "the statistics are of another number of layers", "layers", layer_count, "statistics",
                    layers.size());
  }

  /// Adds another shard's sums. Throws `bad_argument` when it is about another model.
  calibration& operator+=(calibration const& other) {
    other.expect_about(model, shape, static_cast<int>(layers.size()));
    for (std::size_t i = 0; i < layers.size(); ++i) layers[i] += other.layers[i];
    return *this;
  }
};

}  // namespace tightkv
