// SPDX-License-Identifier: Apache-2.0
/// The rows of a saved sequence as planes: scored where they lie, whatever their type.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <tightkv/core/executor.hpp>
#include <tightkv/core/half.hpp>
#include <tightkv/interop/llama_state_format.hpp>
#include <tightkv/view/layouts.hpp>
#include <tightkv/view/plane.hpp>

namespace tightkv::llama_state {

/// The basis in which quantised rows are stored.
enum class rotation {
  none,  ///< as the model made them: llama.cpp before April 2026, or under LLAMA_ATTN_ROT_DISABLE=1
  stock  ///< rotated by Hadamard blocks where head_dim is a multiple of 64, as llama.cpp does unless told otherwise
};

/// Rows longer than this cannot be viewed.
inline constexpr int longest_row = 1024;

namespace detail {

/// Where the elements of one head's rows are, and what they are.
struct encoding {
  gguf::tensor_type type;
  std::byte const* base;
  std::ptrdiff_t token_stride;
  std::ptrdiff_t element_stride;  // 0: side by side, in blocks
  int rotated_block;              // 0: not rotated
};

template <class T>
T load(std::byte const* from) noexcept {
  T result;
  std::memcpy(&result, from, sizeof result);  // a state may lie anywhere
  return result;
}

template <class T>
void decode_numbers(std::byte const* from, std::ptrdiff_t stride, std::span<float> to) noexcept {
  for (auto& x : to) {
    x = static_cast<float>(load<T>(from));
    from += stride;
  }
}

/// x = d * q; a block is a half d and 32 bytes.
inline void decode_q8_0(std::byte const* from, std::span<float> to) noexcept {
  for (std::size_t i = 0; i < to.size(); i += 32, from += 34) {
    auto const d = static_cast<float>(load<half>(from));
    for (std::size_t j = 0; j < 32; ++j) to[i + j] = d * static_cast<float>(load<std::int8_t>(from + 2 + j));
  }
}

/// x = d * (q - 8); a block is a half d and 16 bytes: elements 0 to 15 in their low halves, the others in the high
/// ones.
inline void decode_q4_0(std::byte const* from, std::span<float> to) noexcept {
  for (std::size_t i = 0; i < to.size(); i += 32, from += 18) {
    auto const d = static_cast<float>(load<half>(from));
    for (std::size_t j = 0; j < 16; ++j) {
      auto const pair = std::to_integer<int>(from[2 + j]);
      to[i + j] = d * static_cast<float>((pair & 15) - 8);
      to[i + j + 16] = d * static_cast<float>((pair >> 4) - 8);
    }
  }
}

/// Multiplies each block by the orthonormal Hadamard matrix, which is its own inverse.
inline void rotate(std::span<float> x, std::size_t block) noexcept {
  float const scale = 1.0F / std::sqrt(static_cast<float>(block));
  for (std::size_t begin = 0; begin < x.size(); begin += block) {
    for (std::size_t half_width = 1; half_width < block; half_width *= 2) {
      for (std::size_t i = begin; i < begin + block; i += 2 * half_width) {
        for (std::size_t j = i; j < i + half_width; ++j) {
          float const a = x[j], b = x[j + half_width];
          x[j] = a + b;
          x[j + half_width] = a - b;
        }
      }
    }
  }
  for (auto& v : x) v *= scale;
}

inline void decode(encoding const& e, int cell, std::span<float> to) noexcept {
  auto const* const from = e.base + cell * e.token_stride;
  auto const stride = [&](std::ptrdiff_t size) { return e.element_stride == 0 ? size : e.element_stride; };
  switch (e.type) {
    case gguf::tensor_type::f32:
      decode_numbers<float>(from, stride(4), to);
      break;
    case gguf::tensor_type::f16:
      decode_numbers<half>(from, stride(2), to);
      break;
    case gguf::tensor_type::bf16:
      decode_numbers<bfloat16>(from, stride(2), to);
      break;
    case gguf::tensor_type::q8_0:
      decode_q8_0(from, to);
      break;
    default:  // checked when the view was made
      decode_q4_0(from, to);
      break;
  }
  if (e.rotated_block != 0) rotate(to, static_cast<std::size_t>(e.rotated_block));
}

}  // namespace detail

/// A row decoded to floats.
class decoded_row {
 public:
  int size;

  decoded_row(detail::encoding const& e, int cell, int head_dim) noexcept : size(head_dim) {
    detail::decode(e, cell, std::span(values_).first(static_cast<std::size_t>(head_dim)));
  }
  float operator[](int d) const noexcept { return values_[static_cast<std::size_t>(d)]; }

 private:
  std::array<float, longest_row> values_;  // the first `size` are set
};

/// The keys, or the values, of all layers of a stream: head `layer * kv_heads + h` is KV head h of that layer. Tokens
/// come in the order of their positions, wherever their cells are.
///
///     auto const keys = tightkv::llama_state::keys_of(stream, kv_heads);
///     auto const values = tightkv::llama_state::values_of(stream, kv_heads);
///     auto const plan = tightkv::decide(ex, tightkv::key_diff{}, tightkv::kv_view{keys, values}).plan;
///
/// A read-only plane: each row is decoded when it is looked at (f32, f16, bf16, q8_0, q4_0), and turned back into the
/// model's own basis where the cache is rotated. Needs the stream and the bytes to outlive it. Throws `bad_argument`
/// when the layers differ in width, `kv_heads` does not divide it or cuts blocks in two, or the type cannot be decoded.
class decoded_rows {
 public:
  using value_type = float;
  using memory = host_memory;

  /// The rows of one head.
  class head_type {
   public:
    head_type(detail::encoding const& e, std::span<int const> order, int head_dim) noexcept
        : encoding_(e), order_(order), head_dim_(head_dim) {}
    int tokens() const noexcept { return static_cast<int>(order_.size()); }
    decoded_row operator[](int token) const noexcept {
      return {encoding_, order_[static_cast<std::size_t>(token)], head_dim_};
    }

   private:
    detail::encoding encoding_;
    std::span<int const> order_;
    int head_dim_;
  };

  decoded_rows(stream const& s, tensor layer::*which, int kv_heads, rotation r)
      : decoded_rows(s, s.layers, which, kv_heads, r) {}

  /// Those of some layers of the stream.
  decoded_rows(stream const& s, std::span<layer const> layers, tensor layer::*which, int kv_heads, rotation r)
      : order_(s.order), layers_(layers), which_(which), kv_heads_(kv_heads), rotation_(r) {
    using detail::expects;
    expects(kv_heads >= 1, "llama_state", "kv_heads must be at least 1", "kv_heads", kv_heads);
    if (layers.empty()) return;
    auto const heads = static_cast<std::size_t>(kv_heads);
    auto const width = (layers[0].*which).width;
    expects(width % heads == 0, "llama_state", "a row must divide into the KV heads", "width", width, "kv_heads",
            kv_heads);
    auto const head_dim = width / heads;
    expects(head_dim <= longest_row, "llama_state", "head_dim must be at most 1024", "head_dim", head_dim);
    for (auto const& l : layers) {
      auto const& t = l.*which;
      expects(t.width == width, "llama_state", "all layers must have rows of the same width", "width", t.width, "first",
              width);
      auto const block = gguf::block_of(t.type);
      expects(can_decode(t.type), "llama_state", "rows of this type can be moved, but not scored", "type", block.name);
      expects(head_dim % block.elements == 0, "llama_state", "head_dim must be whole blocks of the rows' type",
              "head_dim", head_dim, "block", block.elements);
    }
    head_dim_ = static_cast<int>(head_dim);
  }

  int heads() const noexcept { return static_cast<int>(layers_.size()) * kv_heads_; }
  int heads_per_layer() const noexcept { return kv_heads_; }
  int tokens(int) const noexcept { return static_cast<int>(order_.size()); }
  int head_dim() const noexcept { return head_dim_; }
  head_type head(int h) const noexcept { return {encoding_of(h), order_, head_dim_}; }

  static bool can_decode(gguf::tensor_type type) noexcept {
    using enum gguf::tensor_type;
    return type == f32 || type == f16 || type == bf16 || type == q8_0 || type == q4_0;
  }

  /// Bytes of one row as stored: what a budget of bytes counts.
  friend std::ptrdiff_t row_bytes(decoded_rows const& r) noexcept {
    return r.layers_.empty() ? 0 : static_cast<std::ptrdiff_t>((r.layers_[0].*r.which_).row_bytes()) / r.kv_heads_;
  }

 private:
  detail::encoding encoding_of(int h) const noexcept {
    auto const& t = layers_[static_cast<std::size_t>(h / kv_heads_)].*which_;
    auto const block = gguf::block_of(t.type);
    int const first = h % kv_heads_ * head_dim_;  // element of the whole row
    if (t.transposed) {
      auto const column = static_cast<std::ptrdiff_t>(order_.size() * block.bytes);
      return {t.type, t.bytes.data() + first * column, block.bytes, column, 0};
    }
    auto const skipped = static_cast<std::size_t>(first) / block.elements * block.bytes;
    return {t.type, t.bytes.data() + skipped, static_cast<std::ptrdiff_t>(t.row_bytes()), 0, rotated_block(t)};
  }

  /// Keys are rotated by the largest power of two that divides head_dim, values by 64.
  int rotated_block(tensor const& t) const noexcept {
    bool const quantised = gguf::block_of(t.type).elements > 1;
    if (rotation_ == rotation::none || !quantised || head_dim_ % 64 != 0) return 0;
    return which_ == &layer::keys ? head_dim_ & -head_dim_ : 64;
  }

  std::span<int const> order_;
  std::span<layer const> layers_;
  tensor layer::*which_;
  int kv_heads_;
  int head_dim_ = 1;
  rotation rotation_;
};

static_assert(readable_plane<decoded_rows> && !writable_plane<decoded_rows>);

/// The same rows as planes of their own type, one for each layer: the fastest to score, where they can be had. None
/// unless all layers hold T, not transposed, aligned to it, and the cells are in the order of the positions.
///
///     auto const keys = tightkv::llama_state::planes_of<tightkv::half>(stream, &tightkv::llama_state::layer::keys, kv_heads);
///     if (!keys.empty()) score(tightkv::batch(keys));
template <numeric_element T>
std::vector<plane<T const>> planes_of(stream const& s, tensor layer::*which, int kv_heads) {
  using enum gguf::tensor_type;
  constexpr auto type = std::same_as<T, float> ? f32 : std::same_as<T, half> ? f16 : bf16;
  decoded_rows const checked(s, which, kv_heads, rotation::none);
  std::vector<plane<T const>> planes;
  if (!std::ranges::is_sorted(s.order)) return planes;
  for (auto const& l : s.layers) {
    auto const& t = l.*which;
    auto const* const data = static_cast<void const*>(t.bytes.data());
    if (t.type != type || t.transposed || reinterpret_cast<std::uintptr_t>(data) % alignof(T) != 0) return {};
    planes.push_back(
        nhd(static_cast<T const*>(data), {.heads = kv_heads, .tokens = s.tokens(), .head_dim = checked.head_dim()}));
  }
  return planes;
}

inline decoded_rows keys_of(stream const& s, int kv_heads, rotation r = rotation::stock) {
  return {s, &layer::keys, kv_heads, r};
}
inline decoded_rows values_of(stream const& s, int kv_heads, rotation r = rotation::stock) {
  return {s, &layer::values, kv_heads, r};
}

}  // namespace tightkv::llama_state
