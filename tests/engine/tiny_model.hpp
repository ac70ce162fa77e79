// SPDX-License-Identifier: Apache-2.0
/// A Llama of a few thousand random weights, as a GGUF file in memory.
#pragma once

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <engine/gguf_builder.hpp>

namespace test {

struct tiny_shape {
  int layers = 3;
  int width = 24;
  int feed_forward = 40;
  int query_heads = 6;
  int kv_heads = 2;
  int head_dim = 8;
  int rope_dimensions = 8;
  int vocabulary = 50;
  float rope_base = 100;
  float rms_epsilon = 1e-5F;
};

enum class output_weights { tied, own };

struct tiny_model {
  tiny_shape shape;
  std::map<std::string, std::vector<float>> weights;  ///< outputs x inputs
  gguf_builder builder;

  explicit tiny_model(tiny_shape const& s = {}, output_weights outputs = output_weights::tied) : shape(s) {
    auto const set = [&](char const* key, int n) {
      builder.set(std::string("llama.") + key, static_cast<std::uint32_t>(n));
    };
    builder.set("general.architecture", "llama");
    set("block_count", s.layers);
    set("context_length", 512);
    set("embedding_length", s.width);
    set("feed_forward_length", s.feed_forward);
    set("attention.head_count", s.query_heads);
    set("attention.head_count_kv", s.kv_heads);
    set("attention.key_length", s.head_dim);
    set("attention.value_length", s.head_dim);
    set("rope.dimension_count", s.rope_dimensions);
    builder.set("llama.rope.freq_base", s.rope_base);
    builder.set("llama.attention.layer_norm_rms_epsilon", s.rms_epsilon);

    add("token_embd", s.vocabulary, s.width, 1);
    for (int i = 0; i < s.layers; ++i) {
      auto const name = [&](char const* part) { return "blk." + std::to_string(i) + "." + part; };
      add(name("attn_norm"), 1, s.width, 1);
      add(name("attn_q"), s.query_heads * s.head_dim, s.width, 2);  // large, so that attention is not nearly uniform
      add(name("attn_k"), s.kv_heads * s.head_dim, s.width, 2);
      add(name("attn_v"), s.kv_heads * s.head_dim, s.width, 1);
      add(name("attn_output"), s.width, s.query_heads * s.head_dim, 1);
      add(name("ffn_norm"), 1, s.width, 1);
      add(name("ffn_gate"), s.feed_forward, s.width, 1);
      add(name("ffn_up"), s.feed_forward, s.width, 1);
      add(name("ffn_down"), s.width, s.feed_forward, 1);
    }
    add("output_norm", 1, s.width, 1);
    if (outputs == output_weights::own) add("output", s.vocabulary, s.width, 1);
  }

 private:
  void add(std::string const& name, int outputs, int inputs, double scale) {
    std::normal_distribution<double> normal{0, scale / std::sqrt(inputs)};
    auto& w = weights[name];
    for (int i = 0; i < outputs * inputs; ++i)
      w.push_back(static_cast<float>(outputs == 1 ? 1 + normal(random_) : normal(random_)));
    std::vector<std::uint64_t> extents{static_cast<std::uint64_t>(inputs)};
    if (outputs > 1) extents.push_back(static_cast<std::uint64_t>(outputs));
    builder.tensor(name + ".weight", extents, w);
  }

  std::mt19937 random_{42};
};

}  // namespace test
