// SPDX-License-Identifier: Apache-2.0
#include "key_rotation.hpp"

#include <cmath>
#include <cstring>
#include <utility>

#include "gguf.h"

namespace tightkv::llama {
namespace {

bool has_frequency_factors(session const& engine) {
  gguf_context* const file = gguf_init_from_file(engine.options().model.c_str(), {.no_alloc = true, .ctx = nullptr});
  bool const found = file != nullptr && gguf_find_tensor(file, "rope_freqs.weight") >= 0;
  if (file != nullptr) gguf_free(file);
  return found;
}

}  // namespace

bool key_rotation::knows(session const& engine) {
  auto const kind = llama_model_rope_type(engine.model());
  bool const plain = kind == LLAMA_ROPE_TYPE_NORM || kind == LLAMA_ROPE_TYPE_NEOX;
  return plain && engine.metadata("rope.dimension_count", 0) > 0 && !engine.has_metadata("rope.scaling.type") &&
         !has_frequency_factors(engine);
}

key_rotation::key_rotation(session const& engine, int shift)
    : halves_(llama_model_rope_type(engine.model()) == LLAMA_ROPE_TYPE_NEOX) {
  double const base = engine.metadata("rope.freq_base", 10000);
  double const scale = llama_model_rope_freq_scale_train(engine.model());
  auto const channels = static_cast<int>(engine.metadata("rope.dimension_count", 0));
  for (int i = 0; i < channels / 2; ++i) {
    double const angle = shift * scale * std::pow(base, -2.0 * i / channels);
    turns_.push_back({static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))});
  }
}

void key_rotation::apply(rows& keys) const {
  std::vector<float> numbers(static_cast<std::size_t>(keys.width()));
  auto const* const type = ggml_get_type_traits(keys.type);
  bool const floats = keys.type == GGML_TYPE_F32;
  for (int t = 0; t < keys.tokens; ++t) {
    auto* const row = keys.row(t);
    if (floats) std::memcpy(numbers.data(), row, keys.row_bytes());
    if (!floats) type->to_float(row, numbers.data(), keys.width());
    for (int h = 0; h < keys.heads; ++h) turn(numbers.data() + h * keys.head_dim);
    if (floats) std::memcpy(row, numbers.data(), keys.row_bytes());
    if (!floats) type->from_float_ref(numbers.data(), row, keys.width());
  }
}

void key_rotation::turn(float* head) const {
  auto const pairs = turns_.size();
  for (std::size_t i = 0; i < pairs; ++i) {
    float& x = head[halves_ ? i : 2 * i];
    float& y = head[halves_ ? i + pairs : 2 * i + 1];
    auto const [c, s] = turns_[i];
    float const turned_x = x * c - y * s;
    y = x * s + y * c;
    x = turned_x;
  }
}

}  // namespace tightkv::llama
