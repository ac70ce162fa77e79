// SPDX-License-Identifier: Apache-2.0
#include "compress_layer.hpp"

#include "compress_layer_on.hpp"

namespace tightkv::cli {

compressed_layer compress_layer(executor_type const& ex, method_choice const& choice, dumped_layer const& layer,
                                int chunk) {
  return compress_layer_on(ex, choice, layer, chunk);
}

compressed_layer compress_layer(plain_executor_type const& ex, method_choice const& choice, dumped_layer const& layer,
                                int chunk) {
  return compress_layer_on(ex, choice, layer, chunk);
}

compressed_layer keep_layer(dumped_layer const& layer) {
  compressed_layer whole;
  whole.lengths.assign(static_cast<std::size_t>(layer.heads), layer.tokens);
  whole.rows = layer.tokens;
  whole.keys.assign(layer.keys->bytes.begin(), layer.keys->bytes.end());
  whole.values.assign(layer.values->bytes.begin(), layer.values->bytes.end());
  for (int h = 0; h < layer.heads; ++h) {
    for (int t = 0; t < layer.tokens; ++t) whole.kept.push_back(t);
  }
  return whole;
}

}  // namespace tightkv::cli
