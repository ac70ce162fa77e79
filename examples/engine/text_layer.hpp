// SPDX-License-Identifier: Apache-2.0
/// One layer over a whole text at once, on activations that the caller holds: what calibration is made of.
#pragma once

#include <span>

#include "attention.hpp"
#include "block.hpp"
#include "kv_cache.hpp"

namespace engine {

/// Reads the residual stream before a layer, and adds to it what the layer does. In between lie the activations.
///
///     engine::text_layer layer{model.shape(), pool, tokens};
///     layer.project(w, state);                    // layer.activations().keys(): before RoPE
///     layer.attend(w);                            // ... and after it; attended() is the input of W_O
///     layer.activations().add_attention(w, state);
///     layer.activations().add_feed_forward(w, state);
class text_layer {
 public:
  text_layer(hyper_parameters const& shape, thread_pool& pool, int tokens)
      : shape_(shape),
        pool_(pool),
        block_(shape, pool, tokens),
        cache_({.layers = 1, .kv_heads = shape.kv_heads, .capacity = tokens, .head_dim = shape.head_dim}) {
    for (int p = 0; p < tokens; ++p) block_.add_position(p);
  }

  block& activations() noexcept { return block_; }

  void project(layer_weights const& w, tightkv::matrix_view<float const> state) { block_.project(w, state); }

  void attend(layer_weights const& w) {
    block_.turn();
    block_.merge(w);
    cache_.write(0, block_.keys(), block_.values());
    attention_of<float> const all{.cache = cache_,
                                  .layer = 0,
                                  .queries = block_.queries(),
                                  .out = block_.attended(),
                                  .values_per_row = shape_.values_per_row};
    engine::attend<float>(pool_, std::span(&all, 1));
  }

 private:
  hyper_parameters const& shape_;
  thread_pool& pool_;
  block block_;
  kv_cache<float> cache_;
};

}  // namespace engine
