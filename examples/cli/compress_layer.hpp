// SPDX-License-Identifier: Apache-2.0
/// One layer of a dump through a method: the same streaming form an engine would use, in one chunk or in many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <tightkv/core/matrix.hpp>

#include "dump.hpp"
#include "executor_types.hpp"
#include "method_choice.hpp"

namespace tightkv::cli {

/// What is left of a layer. Rows are as stored in the dump, bit for bit.
struct compressed_layer {
  std::vector<int> lengths;             // kept tokens per head
  int rows = 0;                         // the longest
  std::vector<std::byte> keys, values;  // [kv_heads, rows, head_dim]
  std::vector<std::int32_t> kept;       // [kv_heads, rows]: token numbers; -1 past a head's length
  bool has_scores = false;              // whether the method has any
  std::vector<float> scores;            // [kv_heads, tokens], NaN where not judged
  std::ptrdiff_t nan_scores = 0;
  double seconds = 0;  // of the method alone
};

/// Feeds the layer's tokens `chunk` at a time, each time appended to what is left and reduced when due.
///
/// The dump must have the queries the method needs.
compressed_layer compress_layer(executor_type const& ex, method_choice const& choice, dumped_layer const& layer,
                                int chunk);
/// The same by the specification.
compressed_layer compress_layer(plain_executor_type const& ex, method_choice const& choice, dumped_layer const& layer,
                                int chunk);
/// The same by the CUDA kernels; only where the command is built with them.
compressed_layer compress_layer_on_device(method_choice const& choice, dumped_layer const& layer, int chunk);

/// The same for a layer that is left whole.
compressed_layer keep_layer(dumped_layer const& layer);

}  // namespace tightkv::cli
