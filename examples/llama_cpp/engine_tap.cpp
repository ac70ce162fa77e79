// SPDX-License-Identifier: Apache-2.0
#include "engine_tap.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace tightkv::llama {
namespace {

/// The layer in a name such as `Qcur-12`, if that is what it is called.
std::optional<std::size_t> layer_in(char const* name, std::string_view prefix) {
  std::string_view text(name);
  if (!text.starts_with(prefix)) return std::nullopt;
  text.remove_prefix(prefix.size());
  std::size_t layer = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  return error == std::errc{} ? std::optional(layer) : std::nullopt;
}

template <class T>
T& at(std::vector<T>& list, std::size_t index) {
  if (list.size() <= index) list.resize(index + 1);
  return list[index];
}

}  // namespace

bool engine_tap::callback(ggml_tensor* node, bool asks, void* self) {
  auto& tap = *static_cast<engine_tap*>(self);
  if (asks) return tap.asked(node);
  tap.keep_queries(node);
  return true;  // go on
}

bool engine_tap::asked(ggml_tensor* node) {
  if (node->op == GGML_OP_SET_ROWS && node->view_src != nullptr) look_at_cache(node);
  // The name is used before and after RoPE.
  return window > 0 && node->op == GGML_OP_ROPE && layer_in(node->name, "Qcur-").has_value();
}

void engine_tap::look_at_cache(ggml_tensor const* node) {
  auto* const tensor = node->view_src;
  if (auto const layer = layer_in(tensor->name, "cache_v_l")) at(cache_, *layer).values = tensor;
  if (auto const layer = layer_in(tensor->name, "cache_k_l")) {
    at(cache_, *layer).keys = tensor;
    if (*layer > 0) return;  // all layers use the same cells
    auto const* const indices = node->src[1];
    std::vector<std::int64_t> fresh(static_cast<std::size_t>(ggml_nelements(indices)));
    ggml_backend_tensor_get(indices, fresh.data(), 0, ggml_nbytes(indices));
    cells_.insert(cells_.end(), fresh.begin(), fresh.end());
  }
}

void engine_tap::keep_queries(ggml_tensor const* node) {
  auto& layer = at(queries_, layer_in(node->name, "Qcur-").value());
  layer.head_dim = static_cast<int>(node->ne[0]);
  layer.heads = static_cast<int>(node->ne[1]);
  int const fresh = static_cast<int>(node->ne[2]);
  auto const row = static_cast<std::size_t>(layer.head_dim) * static_cast<std::size_t>(layer.heads);
  int const kept = std::min(layer.tokens, std::max(0, window - fresh));

  layer.rows.erase(layer.rows.begin(), layer.rows.end() - static_cast<std::ptrdiff_t>(row) * kept);
  auto const first = std::max(0, fresh - window);
  auto const used = static_cast<std::size_t>(fresh - first);
  layer.rows.resize((static_cast<std::size_t>(kept) + used) * row);
  auto* const to = layer.rows.data() + static_cast<std::size_t>(kept) * row;
  ggml_backend_tensor_get(node, to, static_cast<std::size_t>(first) * node->nb[2], used * row * sizeof(float));
  layer.tokens = kept + static_cast<int>(used);
}

}  // namespace tightkv::llama
