// SPDX-License-Identifier: Apache-2.0
/// Rows of llama.cpp's cache in host memory, encoded as the cache has them.
#pragma once

#include <cstddef>
#include <vector>

#include <tightkv/interop/llama_state.hpp>
#include <tightkv/view/layouts.hpp>

#include "ggml.h"

namespace tightkv::llama {

/// The keys or the values of one layer, token after token, each a row of all KV heads: `[token][head][head_dim]`.
struct rows {
  ggml_type type = GGML_TYPE_F16;
  int heads = 0;
  int head_dim = 0;
  int tokens = 0;
  std::vector<std::byte> bytes{};

  int width() const noexcept { return heads * head_dim; }
  std::size_t row_bytes() const { return ggml_row_size(type, width()); }
  std::byte* row(int token) { return bytes.data() + static_cast<std::size_t>(token) * row_bytes(); }
  std::byte const* row(int token) const { return bytes.data() + static_cast<std::size_t>(token) * row_bytes(); }

  /// To be moved, not read: what `compact` takes. A head's part of a row is whole blocks of its type.
  auto as_bytes() {
    return nhd(bytes.data(), {.heads = heads, .tokens = tokens, .head_dim = static_cast<int>(row_bytes()) / heads});
  }
  /// To be read, not moved.
  llama_state::tensor as_tensor() const {
    return {static_cast<gguf::tensor_type>(type), static_cast<std::size_t>(width()), false, bytes};
  }
};

struct layer_rows {
  rows keys;
  rows values;
};

}  // namespace tightkv::llama
