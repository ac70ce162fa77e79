// SPDX-License-Identifier: Apache-2.0
/// The statistics of a whole model: what a calibration run fills, and shards of it add up to.
#pragma once

#include <string>
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
  explicit layer_sums(attention_shape const& shape);

  /// Adds one sequence's tokens, in chunks of any length: planes of the chunk's rows. `skip` of them are left out.
  template <executor E, readable_plane K, readable_plane V, readable_plane Q>
  void add(E const& ex, K const& k, V const& v, Q const& q, int skip = 0);
};

/// The sums of all layers, and which model they are about.
///
///     tightkv::calibration sums("SmolLM2-135M", shape, 30);
///     sums.layers[0].add(ex, keys, values, queries);
///     sums += of_another_shard;       // refused if it is about another model
///     tightkv::save("sums.safetensors", sums);   // <tightkv/interop/safetensors_calibration.hpp>
struct calibration {
  std::string model;
  attention_shape shape;
  std::vector<layer_sums> layers;

  calibration(std::string name, attention_shape const& of, int layer_count);

  /// Throws `bad_argument` unless these are statistics of that model.
  void expect_about(std::string const& name, attention_shape const& of, int layer_count) const;
  calibration& operator+=(calibration const& other);
};

}  // namespace tightkv
