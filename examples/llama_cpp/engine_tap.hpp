// SPDX-License-Identifier: Apache-2.0
/// What llama.cpp lets a program see while it computes: the queries after RoPE, and where its cache is.
#pragma once

#include <cstdint>
#include <vector>

#include <tightkv/view/layouts.hpp>

#include "ggml-backend.h"
#include "ggml.h"

namespace tightkv::llama {

/// Listens to `cb_eval`, the callback of llama.cpp's public API that is asked about every node of the graph.
///
///     tap.window = 64;                    // before feeding: keep the queries of the last 64 tokens
///     tap.queries(layer);                 // afterwards: a plane, as the library's methods want it
///
/// It never keeps attention maps, only queries, `window` rows per layer; with `window` 0 llama.cpp computes as if
/// nobody listened. The cache's tensors and the cell each token went to are seen in passing, at no cost.
class engine_tap {
 public:
  int window = 0;  ///< queries are kept of so many of the last tokens

  static bool callback(ggml_tensor* node, bool asks, void* self);

  /// The queries of a layer's last tokens, per query head.
  auto queries(int layer) const {
    auto const& l = queries_[static_cast<std::size_t>(layer)];
    return nhd(l.rows.data(), {.heads = l.heads, .tokens = l.tokens, .head_dim = l.head_dim});
  }
  int layers_seen() const noexcept { return static_cast<int>(queries_.size()); }
  void forget_queries() { queries_.clear(); }

  struct layer_tensors {
    ggml_tensor* keys = nullptr;
    ggml_tensor* values = nullptr;
  };
  /// The cache itself, layer by layer.
  std::vector<layer_tensors> const& cache() const noexcept { return cache_; }
  /// The cell of each token that was fed since the last call.
  std::vector<std::int64_t> take_cells() { return std::exchange(cells_, {}); }

 private:
  struct layer_queries {
    int heads = 0;
    int tokens = 0;
    int head_dim = 0;
    std::vector<float> rows;  // [token][head][head_dim]
  };

  bool asked(ggml_tensor* node);
  void look_at_cache(ggml_tensor const* node);
  void keep_queries(ggml_tensor const* node);

  std::vector<layer_queries> queries_;
  std::vector<layer_tensors> cache_;
  std::vector<std::int64_t> cells_;
};

}  // namespace tightkv::llama
