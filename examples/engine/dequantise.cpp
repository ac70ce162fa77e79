// SPDX-License-Identifier: Apache-2.0
#include "dequantise.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <tightkv/core/half.hpp>

namespace engine {
namespace {

using tightkv::gguf::tensor_type;

template <class T>
T load(std::byte const* from) {
  T result;
  std::memcpy(&result, from, sizeof result);
  return result;
}

float scale_at(std::byte const* from) { return static_cast<float>(load<tightkv::half>(from)); }

void unpack_q8_0(std::byte const* block, float* to) {
  float const scale = scale_at(block);
  for (int i = 0; i < 32; ++i) to[i] = scale * static_cast<float>(load<std::int8_t>(block + 2 + i));
}

void unpack_q4_0(std::byte const* block, float* to) {
  float const scale = scale_at(block);
  for (int i = 0; i < 16; ++i) {
    int const pair = std::to_integer<int>(block[2 + i]);
    to[i] = scale * static_cast<float>((pair & 15) - 8);
    to[i + 16] = scale * static_cast<float>((pair >> 4) - 8);
  }
}

void unpack_q4_1(std::byte const* block, float* to) {
  float const scale = scale_at(block);
  float const minimum = scale_at(block + 2);
  for (int i = 0; i < 16; ++i) {
    int const pair = std::to_integer<int>(block[4 + i]);
    to[i] = scale * static_cast<float>(pair & 15) + minimum;
    to[i + 16] = scale * static_cast<float>(pair >> 4) + minimum;
  }
}

template <class T>
void unpack_one(std::byte const* from, float* to) {
  *to = static_cast<float>(load<T>(from));
}

using unpack = void (*)(std::byte const*, float*);

unpack unpacker(tightkv::gguf::tensor const& t) {
  switch (t.type) {
    case tensor_type::f32:
      return unpack_one<float>;
    case tensor_type::f16:
      return unpack_one<tightkv::half>;
    case tensor_type::bf16:
      return unpack_one<tightkv::bfloat16>;
    case tensor_type::q8_0:
      return unpack_q8_0;
    case tensor_type::q4_0:
      return unpack_q4_0;
    case tensor_type::q4_1:
      return unpack_q4_1;
    default:
      tightkv::detail::refuse("engine::dequantise", "reads F32, F16, BF16, Q8_0, Q4_0 and Q4_1",
                              {{"tensor", tightkv::gguf::detail::printable(t.name)}, {"type", name_of(t.type)}});
  }
}

}  // namespace

void dequantise(thread_pool& pool, tightkv::gguf::tensor const& from, std::span<float> to) {
  tightkv::detail::expects(to.size() == from.elements(), "engine::dequantise", "the target must be as large",
                           "elements", from.elements(), "target", to.size());
  auto const unpack_block = unpacker(from);
  auto const block = block_of(from.type);
  auto const blocks = from.data.size() / block.bytes;
  std::size_t const at_once = 4096;
  pool.run(static_cast<int>((blocks + at_once - 1) / at_once), [&](int task) {
    auto const first = static_cast<std::size_t>(task) * at_once;
    for (auto b = first; b < std::min(blocks, first + at_once); ++b) {
      unpack_block(from.data.data() + b * block.bytes, to.data() + b * block.elements);
    }
  });
}

}  // namespace engine
