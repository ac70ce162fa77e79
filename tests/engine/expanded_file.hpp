// SPDX-License-Identifier: Apache-2.0
/// A GGUF file's model with its KV heads multiplied (see `expanded_heads.hpp`), written as float32.
#pragma once

#include <cstring>
#include <filesystem>
#include <list>
#include <string>
#include <vector>

#include <engine/expanded_heads.hpp>
#include <tightkv/interop/gguf_writer.hpp>

#include "model.hpp"

namespace test {

inline std::vector<float> numbers_of(engine::weight const& w) {
  auto const* first = w.view().data;
  return {first, first + std::ptrdiff_t{w.rows()} * w.cols()};
}

/// How a model gets more heads: see `expanded`, `add_noise` and `dealt_out`.
struct expansion {
  int kv_heads = 0;
  double noise = 0;
  int stride = 1;
};

inline void write_expanded(std::filesystem::path const& path, tightkv::gguf::file const& file,
                           engine::model const& model, expansion const& how) {
  int const kv_heads = how.kv_heads;
  auto const& s = model.shape();
  std::list<std::pair<std::string, std::vector<float>>> kept;  // names and numbers stay where they are
  tightkv::gguf::changes what{.metadata = {{"llama.attention.head_count_kv", static_cast<std::uint32_t>(kv_heads)}},
                              .tensors = {}};
  for (int i = 0; i < s.layers; ++i) {
    auto const& w = model.layer(i);
    auto to = expanded({.width = s.width,
                        .query_heads = s.query_heads,
                        .kv_heads = s.kv_heads,
                        .head_dim = s.head_dim,
                        .rope_dimensions = s.rope_dimensions,
                        .query = numbers_of(w.query),
                        .key = numbers_of(w.key),
                        .value = numbers_of(w.value),
                        .output = numbers_of(w.attention_output)},
                       kv_heads, static_cast<unsigned>(i));
    if (how.noise > 0) add_noise(to, how.noise, static_cast<unsigned>(i));
    to = dealt_out(to, how.stride);
    auto const add = [&](char const* part, std::vector<float>& numbers, int inputs) {
      kept.emplace_back("blk." + std::to_string(i) + '.' + part + ".weight", std::move(numbers));
      auto const& [name, values] = kept.back();
      tightkv::gguf::tensor t;
      t.name = name;
      t.dimensions = 2;
      t.shape = {static_cast<std::uint64_t>(inputs), values.size() / static_cast<std::size_t>(inputs), 1, 1};
      t.data = std::as_bytes(std::span(values));
      what.tensors.push_back(t);
    };
    add("attn_q", to.query, s.width);
    add("attn_k", to.key, s.width);
    add("attn_v", to.value, s.width);
    add("attn_output", to.output, s.query_heads * s.head_dim);
  }
  tightkv::gguf::write(path, file, what);
}

}  // namespace test
