// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "dequantise.hpp"

namespace engine {
namespace {

using tightkv::detail::expects;
using tightkv::detail::refuse;
using tightkv::gguf::detail::printable;

int dimension(tightkv::gguf::file const& file, std::string_view key) {
  constexpr int most = 1 << 24;
  auto const n = file.get<int>(key);
  if (n < 1 || n > most) refuse("engine::model", "a dimension must be in [1, 2^24]", {{key, n}});
  return n;
}

int dimension_or(tightkv::gguf::file const& file, std::string_view key, int fallback) {
  return file.find(key) != nullptr ? dimension(file, key) : fallback;
}

/// Fetches tensors by name, each of the expected shape, and counts them.
class loader {
 public:
  loader(tightkv::gguf::file const& file, thread_pool& pool) : file_(file), pool_(pool) {}

  bool has(std::string const& name) const { return file_.find_tensor(name) != nullptr; }

  weight matrix(std::string const& name, std::int64_t outputs, std::int64_t inputs) {
    auto const& from = checked(name, outputs, inputs);
    weight to(static_cast<int>(outputs), static_cast<int>(inputs));
    dequantise(pool_, from, {to.view().data, static_cast<std::size_t>(outputs * inputs)});
    return to;
  }
  std::vector<float> vector(std::string const& name, int size) {
    auto const& from = checked(name, 1, size);
    std::vector<float> to(static_cast<std::size_t>(size));
    dequantise(pool_, from, to);
    return to;
  }

  /// A tensor nobody asked for (a bias, an expert) means that the result would be wrong.
  void expect_all_used() const {
    expects(used_ == file_.tensors().size(), "engine::model", "the file has tensors that this engine does not know",
            "tensors", file_.tensors().size(), "known", used_);
  }

 private:
  tightkv::gguf::tensor const& checked(std::string const& name, std::int64_t outputs, std::int64_t inputs) {
    auto const& t = file_.tensor(name);
    std::array<std::uint64_t, 4> const shape{static_cast<std::uint64_t>(inputs), static_cast<std::uint64_t>(outputs), 1,
                                             1};
    if (t.shape != shape) {
      refuse("engine::model", "a tensor's shape must be what the metadata says",
             {{"tensor", name},
              {"inputs", t.shape[0]},
              {"expected", inputs},
              {"outputs", t.shape[1]},
              {"expected", outputs}});
    }
    ++used_;
    return t;
  }

  tightkv::gguf::file const& file_;
  thread_pool& pool_;
  std::size_t used_ = 0;
};

layer_weights load_layer(loader& load, hyper_parameters const& s, int i) {
  auto const name = [&](char const* part) { return "blk." + std::to_string(i) + '.' + part + ".weight"; };
  auto const width = [](int heads, int dim) { return std::int64_t{heads} * dim; };
  return {
      .attention_norm = load.vector(name("attn_norm"), s.width),
      .query = load.matrix(name("attn_q"), width(s.query_heads, s.key_dim), s.width),
      .key = load.matrix(name("attn_k"), width(s.key_heads, s.key_dim), s.width),
      .value = load.matrix(name("attn_v"), width(s.kv_heads, s.head_dim), s.width),
      .attention_output = load.matrix(name("attn_output"), s.width, width(s.query_heads, s.value_dim())),
      .key_merge = s.merges_at_run_time ? load.matrix(name("attn_k_merge"), width(s.key_heads, s.key_dim), s.head_dim)
                                        : weight{},
      .query_merge = s.merges_at_run_time ? load.matrix(name("attn_q_merge"), width(s.key_heads, s.key_dim), s.head_dim)
                                          : weight{},
      .feed_forward_norm = load.vector(name("ffn_norm"), s.width),
      .gate = load.matrix(name("ffn_gate"), s.feed_forward, s.width),
      .up = load.matrix(name("ffn_up"), s.feed_forward, s.width),
      .down = load.matrix(name("ffn_down"), s.width, s.feed_forward)};
}

}  // namespace

hyper_parameters read_hyper_parameters(tightkv::gguf::file const& file) {
  auto const architecture = file.get<std::string_view>("general.architecture");
  expects(architecture == "llama", "engine::model", "the architecture must be llama", "general.architecture",
          printable(architecture));
  hyper_parameters s;
  s.layers = dimension(file, "llama.block_count");
  s.width = dimension(file, "llama.embedding_length");
  s.feed_forward = dimension(file, "llama.feed_forward_length");
  s.query_heads = dimension(file, "llama.attention.head_count");
  s.kv_heads = dimension_or(file, "llama.attention.head_count_kv", s.query_heads);
  expects(s.query_heads % s.kv_heads == 0, "engine::model", "query heads must be a multiple of KV heads", "query_heads",
          s.query_heads, "kv_heads", s.kv_heads);
  s.head_dim = dimension_or(file, "llama.attention.key_length", std::max(1, s.width / s.query_heads));
  auto const value_dim = dimension_or(file, "llama.attention.value_length", s.head_dim);
  expects(value_dim == s.head_dim, "engine::model", "keys and values must have the same length", "key_length",
          s.head_dim, "value_length", value_dim);
  s.merges_at_run_time = file.find("tightkv.key_heads") != nullptr;
  s.key_heads = dimension_or(file, "tightkv.key_heads", s.kv_heads);
  s.key_dim = dimension_or(file, "tightkv.key_dim", s.head_dim);
  s.values_per_row = dimension_or(file, "tightkv.values_per_row", 1);
  expects(s.key_heads % s.kv_heads == 0 && s.query_heads % s.key_heads == 0, "engine::model",
          "key heads must be a multiple of KV heads and divide the query heads", "key_heads", s.key_heads, "kv_heads",
          s.kv_heads);
  expects(s.head_dim % s.values_per_row == 0 && s.query_heads / s.kv_heads % s.values_per_row == 0, "engine::model",
          "a row must hold whole values, each for a whole number of query heads", "values_per_row", s.values_per_row,
          "head_dim", s.head_dim);
  s.rope_dimensions = dimension_or(file, "llama.rope.dimension_count", s.key_dim);
  expects(s.rope_dimensions % 2 == 0 && s.rope_dimensions <= s.key_dim, "engine::model",
          "RoPE must turn an even number of a head's dimensions", "dimensions", s.rope_dimensions, "head_dim",
          s.key_dim);
  s.context = dimension(file, "llama.context_length");
  s.rope_base = file.get_or("llama.rope.freq_base", 10000.0F);
  s.rms_epsilon = file.get<float>("llama.attention.layer_norm_rms_epsilon");
  expects(s.rope_base > 0 && s.rms_epsilon >= 0, "engine::model", "RoPE's base and the norm's epsilon must be positive",
          "rope_base", s.rope_base, "rms_epsilon", s.rms_epsilon);
  auto const scaling = file.get_or<std::string_view>("llama.rope.scaling.type", "none");
  expects(scaling == "none", "engine::model", "scaled RoPE is not supported", "llama.rope.scaling.type",
          printable(scaling));
  s.vocabulary = static_cast<int>(std::min<std::uint64_t>(file.tensor("token_embd.weight").shape[1], 1U << 24));
  return s;
}

model::model(tightkv::gguf::file const& file, thread_pool& pool) : shape_(read_hyper_parameters(file)) {
  loader load{file, pool};
  embedding_ = load.matrix("token_embd.weight", shape_.vocabulary, shape_.width);
  for (int i = 0; i < shape_.layers; ++i) layers_.push_back(load_layer(load, shape_, i));
  output_norm_ = load.vector("output_norm.weight", shape_.width);
  if (load.has("output.weight")) output_ = load.matrix("output.weight", shape_.vocabulary, shape_.width);
  load.expect_all_used();
}

}  // namespace engine
