// SPDX-License-Identifier: Apache-2.0
/// A dump of a KV cache: what `tightkv compress` reads from a safetensors file.
#pragma once

#include <string>
#include <vector>

#include <tightkv/interop/safetensors.hpp>

namespace tightkv::cli {

/// One layer of a dump, checked: keys and values `[kv_heads, tokens, head_dim]` of one dtype (F32, F16 or BF16), after
/// RoPE; queries, where there are any, `[query_heads, window, head_dim]`, those of the last tokens.
struct dumped_layer {
  std::string prefix;  // of its tensors' names: "" or "layers.7."
  int index = 0;
  safetensors::tensor const* keys = nullptr;
  safetensors::tensor const* values = nullptr;
  safetensors::tensor const* queries = nullptr;  // or none

  int heads = 0;
  int tokens = 0;
  int head_dim = 0;
  int query_heads = 0;
  int window = 0;
};

/// The layers in a file, in order. Throws `bad_argument` for a missing tensor, shapes or dtypes that do not match.
std::vector<dumped_layer> layers_of(safetensors::contents const& file);

}  // namespace tightkv::cli
