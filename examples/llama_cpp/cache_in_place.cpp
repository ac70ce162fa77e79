// SPDX-License-Identifier: Apache-2.0
#include "cache_in_place.hpp"

#include <cstring>
#include <numeric>

#include <tightkv/core/error.hpp>

namespace tightkv::llama {
namespace {

std::vector<std::byte> all_bytes(ggml_tensor const* tensor) {
  std::vector<std::byte> bytes(ggml_nbytes(tensor));
  ggml_backend_tensor_get(tensor, bytes.data(), 0, bytes.size());
  return bytes;
}

/// Where element `i` of a cell's row lies in a transposed tensor: `[width][cells]`.
std::size_t transposed_offset(ggml_tensor const* tensor, std::int64_t cell, std::int64_t i) {
  return static_cast<std::size_t>(i * tensor->ne[1] + cell) * ggml_type_size(tensor->type);
}

}  // namespace

cache_in_place::cache_in_place(session& engine) : engine_(&engine) {
  auto const* const model = engine.model();
  detail::expects(llama_model_n_swa(model) == 0, "llama", "a cache with a sliding window is not edited in place");
  detail::expects(!llama_model_is_recurrent(model) && !llama_model_is_hybrid(model), "llama",
                  "a recurrent memory is not edited in place");
}

bool cache_in_place::values_are_transposed() const { return !engine_->options().flash_attention; }

void cache_in_place::sync() {
  llama_synchronize(engine_->context());
  auto const fresh = engine_->tap().take_cells();
  cells_.insert(cells_.end(), fresh.begin(), fresh.end());
}

int cache_in_place::tokens() {
  sync();
  return static_cast<int>(cells_.size());
}

void cache_in_place::keep(int first, int count) {
  sync();
  cells_.erase(cells_.begin() + first + count, cells_.end());
  cells_.erase(cells_.begin(), cells_.begin() + first);
}

void cache_in_place::restored(int tokens) {
  engine_->tap().take_cells();
  cells_.resize(static_cast<std::size_t>(tokens));
  std::iota(cells_.begin(), cells_.end(), 0);
}

layer_rows cache_in_place::read(int layer) {
  sync();
  auto const& tensors = engine_->tap().cache().at(static_cast<std::size_t>(layer));
  return {gather(tensors.keys, false), gather(tensors.values, values_are_transposed())};
}

void cache_in_place::write(int layer, layer_rows const& from, int first) {
  sync();
  auto const& tensors = engine_->tap().cache().at(static_cast<std::size_t>(layer));
  scatter(tensors.keys, false, from.keys, first);
  scatter(tensors.values, values_are_transposed(), from.values, first);
}

rows cache_in_place::gather(ggml_tensor const* tensor, bool transposed) const {
  int const heads = llama_model_n_head_kv(engine_->model());
  rows out{.type = tensor->type,
           .heads = heads,
           .head_dim = static_cast<int>(tensor->ne[0]) / heads,
           .tokens = static_cast<int>(cells_.size())};
  out.bytes.resize(cells_.size() * out.row_bytes());
  auto const all = all_bytes(tensor);
  auto const element = ggml_type_size(tensor->type);
  for (int t = 0; t < out.tokens; ++t) {
    auto const cell = cells_[static_cast<std::size_t>(t)];
    if (transposed) {
      for (std::int64_t i = 0; i < tensor->ne[0]; ++i) {
        std::memcpy(out.row(t) + static_cast<std::size_t>(i) * element, &all[transposed_offset(tensor, cell, i)],
                    element);
      }
    } else {
      std::memcpy(out.row(t), &all[static_cast<std::size_t>(cell) * out.row_bytes()], out.row_bytes());
    }
  }
  return out;
}

void cache_in_place::scatter(ggml_tensor* tensor, bool transposed, rows const& from, int first) const {
  auto all = all_bytes(tensor);
  auto const element = ggml_type_size(tensor->type);
  for (int t = 0; t < from.tokens; ++t) {
    auto const cell = cells_[static_cast<std::size_t>(first + t)];
    if (transposed) {
      for (std::int64_t i = 0; i < tensor->ne[0]; ++i) {
        std::memcpy(&all[transposed_offset(tensor, cell, i)], from.row(t) + static_cast<std::size_t>(i) * element,
                    element);
      }
    } else {
      std::memcpy(&all[static_cast<std::size_t>(cell) * from.row_bytes()], from.row(t), from.row_bytes());
    }
  }
  ggml_backend_tensor_set(tensor, all.data(), 0, all.size());
}

}  // namespace tightkv::llama
