// SPDX-License-Identifier: Apache-2.0
/// What a saved llama.cpp sequence is made of: sections, streams, layers, rows; all of it views of the caller's bytes.
///
///     buffer:  u32 magic, i32 sequence                        section [section]
///     file:    'ggsq', u32 version, u32 n, n x i32 token      section [section]
///     section: u32 streams, and for each: u32 cells, and unless that is 0:
///              cells x {i32 position, u32 1, i32 sequence}, u32 transposed, u32 layers
///              layers x {i32 type, u64 row bytes, cells x row}                              keys
///              layers x the same                                                            values, or transposed:
///              layers x {i32 type, u32 element bytes, u32 width, width x cells x element}
///
/// Little endian. A model that has layers with a sliding window writes two sections: the layers that see everything,
/// then those with the window. What the numbers mean is in llama.cpp's `src/llama-kv-cache.cpp`.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <tightkv/core/error.hpp>
#include <tightkv/interop/gguf_types.hpp>

namespace tightkv::llama_state {

static_assert(std::endian::native == std::endian::little,
              "tightkv::llama_state reads little-endian states on such machines");

namespace detail {
using tightkv::detail::expects;
using tightkv::detail::refuse;
}  // namespace detail

/// The keys or values of one layer: a row per cell, in which the KV heads lie side by side.
struct tensor {
  gguf::tensor_type type = gguf::tensor_type::f32;
  std::size_t width = 0;    ///< elements of a row: KV heads x head_dim
  bool transposed = false;  ///< `[width][cells]` instead of `[cells][width]`
  std::span<std::byte const> bytes{};

  std::size_t row_bytes() const {
    auto const block = gguf::block_of(type);
    return width / block.elements * block.bytes;
  }
};

struct layer {
  tensor keys;
  tensor values;
};

/// The cells of one stream. A sequence lies in one of them; the others are empty.
struct stream {
  std::vector<int> order{};            ///< the cell of each token, by position; its size is the number of tokens
  int first = 0;                       ///< the lowest position
  int last = -1;                       ///< the highest
  std::span<std::byte const> cells{};  ///< their positions and sequence, as stored
  std::vector<layer> layers{};

  int tokens() const noexcept { return static_cast<int>(order.size()); }
  /// Every position up to the last is there: nothing was evicted.
  bool is_whole() const noexcept { return first == 0 && last + 1 == tokens(); }
};

/// One of llama.cpp's caches.
struct section {
  std::span<std::byte const> bytes{};
  std::vector<stream> streams{};
};

enum class form { buffer, file };

/// A saved sequence. Its views are of the bytes it was read from.
struct contents {
  llama_state::form form = llama_state::form::buffer;
  std::uint32_t version = 0;          ///< of a file
  std::span<std::byte const> head{};  ///< all before the first section
  std::size_t listed_tokens = 0;      ///< entries in a file's token list
  section base{};                     ///< the layers whose tokens may be dropped
  section window{};                   ///< the layers with a sliding window, if there are any; never touched
};

/// Bytes of one cell's position and sequence.
inline constexpr std::size_t cell_bytes = 12;

}  // namespace tightkv::llama_state
