// SPDX-License-Identifier: Apache-2.0
/// Short names for the layouts engines use; `README.md` beside this file draws them. Each returns a `plane`.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include <tightkv/view/paged.hpp>
#include <tightkv/view/plane.hpp>
#include <tightkv/view/ragged.hpp>
#include <tightkv/view/strided.hpp>

namespace tightkv {

/// `[head][capacity][head_dim]`: Hugging Face, MLX, ONNX Runtime GenAI, CTranslate2 (one sequence).
///
///     auto keys = tightkv::hnd(ptr, {.heads = 8, .tokens = 4096, .head_dim = 128});
template <class T, class Memory = host_memory>
auto hnd(T* data, kv_shape const& s, Memory memory = {}) {
  detail::check_shape("hnd", s);
  auto const row = detail::bytes_of<T>(s.head_dim);
  return plane(data,
               strided{.heads = s.heads, .tokens = s.tokens, .head_stride = s.capacity * row, .token_stride = row},
               s.head_dim, contiguous{}, memory);
}

/// `[token][head][head_dim]`: llama.cpp with flash attention, SGLang, CTranslate2's flash-attention layer.
template <class T, class Memory = host_memory>
auto nhd(T* data, kv_shape const& s, Memory memory = {}) {
  detail::check_shape("nhd", s);
  auto const row = detail::bytes_of<T>(s.head_dim);
  return plane(data, strided{.heads = s.heads, .tokens = s.tokens, .head_stride = row, .token_stride = s.heads * row},
               s.head_dim, contiguous{}, memory);
}

/// `[head][head_dim][capacity]`: values of llama.cpp without flash attention.
template <class T, class Memory = host_memory>
auto transposed(T* data, kv_shape const& s, Memory memory = {}) {
  detail::check_shape("transposed", s);
  auto const channel = detail::bytes_of<T>(s.capacity);
  return plane(
      data,
      strided{.heads = s.heads, .tokens = s.tokens, .head_stride = s.head_dim * channel, .token_stride = sizeof(T)},
      s.head_dim, grouped{.size = 1, .stride = channel}, memory);
}

/// Heads of different lengths packed one after another: head h has rows `[starts[h], starts[h + 1])` of
/// `[row][head_dim]`.
template <class T, class Memory = host_memory>
auto packed_heads(T* data, int const* starts, int heads, int head_dim, Memory memory = {}) {
  return plane(data, ragged{.heads = heads, .starts = starts, .token_stride = detail::bytes_of<T>(head_dim)}, head_dim,
               contiguous{}, memory);
}

/// Where the pages of a sequence are: its row of the engine's block table, and the pool.
template <std::integral Index>
struct block_table {
  Index const* entries = nullptr;
  std::int64_t pages = 0;  // in the pool
  int page_size = 1;
};
template <std::integral Index>
block_table(Index const*, std::int64_t, int) -> block_table<Index>;

/// `[page][page_size][head][head_dim]`: vLLM and FlashInfer, NHD.
template <class T, std::integral Index, class Memory = host_memory>
auto paged_nhd(T* pool, kv_shape const& s, block_table<Index> const& table, Memory memory = {}) {
  detail::check_shape("paged_nhd", {s.heads, s.tokens, s.head_dim, std::max(s.capacity, table.page_size)});
  auto const row = detail::bytes_of<T>(s.head_dim);
  return plane(pool,
               basic_paged<Index>{.heads = s.heads,
                                  .tokens = s.tokens,
                                  .block_table = table.entries,
                                  .pages = table.pages,
                                  .page_size = table.page_size,
                                  .page_stride = row * table.page_size * s.heads,
                                  .head_stride = row,
                                  .token_stride = s.heads * row},
               s.head_dim, contiguous{}, memory);
}

/// `[page][head][page_size][head_dim]`: vLLM, FlashInfer and TensorRT-LLM, HND.
template <class T, std::integral Index, class Memory = host_memory>
auto paged_hnd(T* pool, kv_shape const& s, block_table<Index> const& table, Memory memory = {}) {
  detail::check_shape("paged_hnd", {s.heads, s.tokens, s.head_dim, std::max(s.capacity, table.page_size)});
  auto const row = detail::bytes_of<T>(s.head_dim);
  return plane(pool,
               basic_paged<Index>{.heads = s.heads,
                                  .tokens = s.tokens,
                                  .block_table = table.entries,
                                  .pages = table.pages,
                                  .page_size = table.page_size,
                                  .page_stride = row * table.page_size * s.heads,
                                  .head_stride = table.page_size * row,
                                  .token_stride = row},
               s.head_dim, contiguous{}, memory);
}

/// `[cell][head][head_dim]`, token t in cell `list[t]`: llama.cpp's unified cache, SGLang's slots. `cells` is how many
/// cells there are.
template <class T, std::integral Index, class Memory = host_memory>
auto cells(T* data, kv_shape const& s, Index const* list, std::int64_t cells, Memory memory = {}) {
  return paged_nhd(data, s, block_table<Index>{list, cells, 1}, memory);
}

/// `[head][head_dim][cell]`, token t in cell `list[t]`: llama.cpp's values without flash attention.
template <class T, std::integral Index, class Memory = host_memory>
auto transposed_cells(T* data, kv_shape const& s, Index const* list, std::int64_t cells, Memory memory = {}) {
  detail::expects(0 <= cells && cells <= INT32_MAX, "transposed_cells", "cells must be a 32-bit number", "cells",
                  cells);
  detail::check_shape("transposed_cells",
                      {s.heads, s.tokens, s.head_dim, std::max(s.capacity, static_cast<int>(cells))});
  auto const channel = detail::bytes_of<T>(static_cast<std::ptrdiff_t>(cells));
  return plane(data,
               basic_paged<Index>{.heads = s.heads,
                                  .tokens = s.tokens,
                                  .block_table = list,
                                  .pages = cells,
                                  .page_size = 1,
                                  .page_stride = sizeof(T),
                                  .head_stride = s.head_dim * channel},
               s.head_dim, grouped{.size = 1, .stride = channel}, memory);
}

}  // namespace tightkv
