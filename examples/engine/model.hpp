// SPDX-License-Identifier: Apache-2.0
/// A model of the Llama family: its dimensions and its weights, as floats.
#pragma once

#include <optional>
#include <vector>

#include <tightkv/core/matrix.hpp>
#include <tightkv/interop/gguf.hpp>

#include "thread_pool.hpp"

namespace engine {

struct hyper_parameters {
  int layers = 0;
  int width = 0;         ///< of a token's hidden state
  int feed_forward = 0;  ///< width inside the feed-forward block
  int query_heads = 0;
  int kv_heads = 0;
  int head_dim = 0;         ///< of a cached row
  int rope_dimensions = 0;  ///< of each head, the first ones
  int context = 0;          ///< tokens the model was trained for
  int vocabulary = 0;
  float rope_base = 10000;
  float rms_epsilon = 1e-5F;

  // Models whose key heads were merged by `tightkv merge-heads` in a way that takes a projection after RoPE.
  bool merges_at_run_time = false;
  int key_heads = 0;       ///< that W_K makes; otherwise as many as KV heads
  int key_dim = 0;         ///< of those and of W_Q's heads; otherwise head_dim
  int values_per_row = 1;  ///< shorter values side by side in a cached row, each for its share of the query heads

  int value_dim() const noexcept { return head_dim / values_per_row; }
};

/// Reads them from the metadata. Throws `bad_argument` for another architecture than `llama`, for what this engine does
/// not do (experts, scaled RoPE) and for numbers that do not fit together.
hyper_parameters read_hyper_parameters(tightkv::gguf::file const& file);

/// A linear map: outputs x inputs.
using weight = tightkv::matrix<float>;

struct layer_weights {
  std::vector<float> attention_norm;
  weight query;
  weight key;
  weight value;
  weight attention_output;
  weight key_merge;    ///< matrices (key heads of a KV head, key_dim) x head_dim, one below the other, of each KV head
  weight query_merge;  ///< key_dim x head_dim, one below the other, of each key head
  std::vector<float> feed_forward_norm;
  weight gate;
  weight up;
  weight down;
};

///     auto const model = engine::model{file, pool};
///
/// Keeps nothing of the file. A tensor of another shape than the metadata says, one that is missing and one that the
/// engine does not know are refused.
class model {
 public:
  model(tightkv::gguf::file const& file, thread_pool& pool);

  hyper_parameters const& shape() const noexcept { return shape_; }
  weight const& embedding() const noexcept { return embedding_; }
  layer_weights const& layer(int i) const noexcept { return layers_[static_cast<std::size_t>(i)]; }
  std::vector<float> const& output_norm() const noexcept { return output_norm_; }
  /// Hidden states to logits; many small models use the embedding for that too.
  weight const& output() const noexcept { return output_ ? *output_ : embedding_; }

 private:
  hyper_parameters shape_;
  weight embedding_;
  std::vector<layer_weights> layers_;
  std::vector<float> output_norm_;
  std::optional<weight> output_;
};

}  // namespace engine
