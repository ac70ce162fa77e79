// SPDX-License-Identifier: Apache-2.0
/// Reads a saved llama.cpp sequence from bytes the caller already has, usually a mapping.
#pragma once

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>

#include <tightkv/interop/llama_state_format.hpp>

namespace tightkv::llama_state {
namespace detail {

inline constexpr std::uint32_t buffer_magic = 0xaf143cd8U;
inline constexpr std::uint32_t file_magic = 0x67677371U;     // "ggsq", written as a number
inline constexpr std::uint32_t session_magic = 0x6767736eU;  // "ggsn": a whole context
inline constexpr std::uint32_t dsv4_magic = 0x34565344U;
inline constexpr std::uint32_t most_streams = 256;  // LLAMA_MAX_SEQ
inline constexpr std::uint32_t most_layers = 512;   // LLAMA_MAX_LAYERS

/// Takes bytes off the front; every length is compared with what is left before it is used.
class cursor {
 public:
  explicit cursor(std::span<std::byte const> bytes) : rest_(bytes) {}

  std::span<std::byte const> rest() const noexcept { return rest_; }

  std::span<std::byte const> take(std::size_t bytes) {
    expects(bytes <= rest_.size(), "llama_state", "the state ends too early", "needed", bytes, "left", rest_.size());
    auto const front = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return front;
  }
  /// `count` things of `each` bytes.
  std::span<std::byte const> take(std::size_t count, std::size_t each) {
    if (each != 0 && count > rest_.size() / each) {
      refuse("llama_state", "the state ends too early", {{"rows", count}, {"row bytes", each}, {"left", rest_.size()}});
    }
    return take(count * each);
  }

  template <class T>
  T number() {
    T result;
    std::memcpy(&result, take(sizeof result).data(), sizeof result);
    return result;
  }

  /// The number `index` places of four bytes ahead, if there is one.
  std::optional<std::uint32_t> peek(std::size_t index) const noexcept {
    if (rest_.size() / 4 <= index) return std::nullopt;
    std::uint32_t result;
    std::memcpy(&result, rest_.data() + 4 * index, sizeof result);
    return result;
  }

 private:
  std::span<std::byte const> rest_;
};

/// A recurrent memory's section: cells that name no sequence, a flag that is always 0, and layers of long rows.
inline bool looks_recurrent(cursor const& in) noexcept {
  auto const word = [&](std::size_t i) { return in.peek(i).value_or(0); };
  return 1 <= word(0) && word(0) <= most_streams && in.peek(2) == 0U && in.peek(3) == 0U && 1 <= word(4) &&
         word(4) <= most_layers && word(6) > 1 && in.peek(7) == 0U;
}

/// A section whose first stream has so many cells.
inline bool looks_like_section(cursor const& in, std::uint32_t cells) noexcept {
  auto const streams = in.peek(0).value_or(0);
  return 1 <= streams && streams <= most_streams && in.peek(1) == cells && in.peek(3) == 1U &&
         (cells < 2 || in.peek(6) == 1U);
}

/// Refuses by name what is recognised, before it is misread.
inline void refuse_other_memories(cursor const& in) {
  if (in.peek(0) == dsv4_magic) refuse("llama_state", "DeepSeek V4's compressed memory is not supported");
  if (looks_recurrent(in)) refuse("llama_state", "recurrent (SSM, RWKV) and hybrid memories are not supported");
}

inline gguf::block storage_of(std::int32_t type) {
  auto const found = std::ranges::find(gguf::detail::blocks, static_cast<gguf::tensor_type>(type), &gguf::block::type);
  expects(found != gguf::detail::blocks.end(), "llama_state", "unknown type of rows", "type", type);
  return *found;
}

/// Cells in the order of their positions.
inline void order_cells(stream& s) {
  auto const position = [&](int cell) {
    std::int32_t p;
    std::memcpy(&p, s.cells.data() + static_cast<std::size_t>(cell) * cell_bytes, sizeof p);
    return p;
  };
  std::iota(s.order.begin(), s.order.end(), 0);
  if (!std::ranges::is_sorted(s.order, {}, position)) std::ranges::sort(s.order, {}, position);
  s.first = position(s.order.front());
  s.last = position(s.order.back());
  expects(s.first >= 0, "llama_state", "positions must not be negative", "position", s.first);
  auto const twice = std::ranges::adjacent_find(s.order, {}, position);
  if (twice != s.order.end()) {
    refuse("llama_state", "each position may be there once", {{"position", position(*twice)}});
  }
}

/// A cell with more to it (x and y, and in newer versions a token) puts the second one's count of sequences elsewhere.
inline void refuse_longer_cells(cursor const& in, std::uint32_t count) {
  if (count < 2 || in.peek(1) != 1U || in.peek(4) == 1U) return;
  if (in.peek(6) == 1U || in.peek(7) == 1U) {
    refuse("llama_state", "cells with more than one position (M-RoPE) are not supported");
  }
}

inline void read_cells(cursor& in, stream& s, std::uint32_t count) {
  expects(count <= static_cast<std::uint32_t>(INT_MAX), "llama_state", "there cannot be so many cells", "cells", count);
  refuse_longer_cells(in, count);
  s.cells = in.take(count, cell_bytes);
  for (std::size_t i = 0; i < count; ++i) {
    auto const* const cell = s.cells.data() + i * cell_bytes;
    std::uint32_t sequences;
    std::memcpy(&sequences, cell + 4, sizeof sequences);
    if (sequences != 1 || std::memcmp(cell + 8, s.cells.data() + 8, sizeof(std::int32_t)) != 0) {
      refuse("llama_state", "all cells must be of one sequence", {{"cell", i}, {"sequences", sequences}});
    }
  }
  s.order.resize(count);
  order_cells(s);
}

inline tensor read_rows(cursor& in, std::size_t cells) {
  auto const storage = storage_of(in.number<std::int32_t>());
  auto const row_bytes = in.number<std::uint64_t>();
  if (row_bytes == 0 || row_bytes % storage.bytes != 0 || row_bytes > in.rest().size()) {
    refuse("llama_state", "a row must be whole blocks of its type, and fit",
           {{"row bytes", row_bytes}, {"type", storage.name}, {"block bytes", storage.bytes}});
  }
  auto const bytes = in.take(cells, static_cast<std::size_t>(row_bytes));
  return {storage.type, static_cast<std::size_t>(row_bytes) / storage.bytes * storage.elements, false, bytes};
}

inline tensor read_columns(cursor& in, std::size_t cells) {
  auto const storage = storage_of(in.number<std::int32_t>());
  auto const element_bytes = in.number<std::uint32_t>();
  auto const width = in.number<std::uint32_t>();
  if (storage.elements != 1 || element_bytes != storage.bytes || width == 0) {
    refuse("llama_state", "transposed values must be plain numbers of their type's size",
           {{"type", storage.name}, {"element bytes", element_bytes}, {"width", width}});
  }
  cursor const before = in;
  in.take(cells, element_bytes);  // so that the product below is a size
  in = before;
  return {storage.type, width, true, in.take(width, cells * element_bytes)};
}

inline stream read_stream(cursor& in) {
  stream s;
  auto const cells = in.number<std::uint32_t>();
  if (cells == 0) return s;
  read_cells(in, s, cells);
  auto const transposed = in.number<std::uint32_t>();
  expects(transposed <= 1, "llama_state", "the flag for transposed values must be 0 or 1", "flag", transposed);
  auto const layers = in.number<std::uint32_t>();
  expects(1 <= layers && layers <= most_layers, "llama_state", "the number of layers must be in [1, 512]", "layers",
          layers);
  constexpr std::size_t smallest_layer = 12;  // type and row bytes of the keys
  expects(layers <= in.rest().size() / smallest_layer, "llama_state", "the state ends too early", "layers", layers,
          "left", in.rest().size());
  s.layers.resize(layers);
  for (auto& l : s.layers) l.keys = read_rows(in, cells);
  if (in.rest().empty() || looks_like_section(in, cells)) {
    refuse("llama_state", "keys without values (MLA) are not supported");
  }
  for (auto& l : s.layers) l.values = transposed == 1 ? read_columns(in, cells) : read_rows(in, cells);
  return s;
}

inline section read_section(cursor& in) {
  refuse_other_memories(in);
  section result;
  auto const all = in.rest();
  auto const streams = in.number<std::uint32_t>();
  expects(1 <= streams && streams <= most_streams, "llama_state", "the number of streams must be in [1, 256]",
          "streams", streams);
  expects(streams <= in.rest().size() / sizeof(std::uint32_t), "llama_state", "the state ends too early", "streams",
          streams, "left", in.rest().size());
  result.streams.reserve(streams);
  for (std::uint32_t i = 0; i < streams; ++i) result.streams.push_back(read_stream(in));
  result.bytes = all.first(all.size() - in.rest().size());
  return result;
}

}  // namespace detail

/// True when the bytes begin as a saved sequence does.
inline bool is_state(std::span<std::byte const> bytes) noexcept {
  auto const magic = detail::cursor{bytes}.peek(0);
  return magic == detail::buffer_magic || magic == detail::file_magic;
}

/// Reads a sequence state in either form: what `llama_state_seq_get_data` fills in, what `llama_state_seq_save_file`
/// and the slots of `llama-server` write.
///
///     auto const state = tightkv::llama_state::parse(bytes);
///     for (auto const& stream : state.base.streams) std::cout << stream.tokens() << " tokens, " << stream.layers.size() << " layers\n";
///
/// Nothing is copied but the order of the cells. Every length is taken for hostile, and memory stays proportional to
/// the bytes. Throws `bad_argument` for what is no such state, is cut off or has bytes left over, has another version,
/// and for the memories of other kinds of models: recurrent and hybrid ones, MLA, M-RoPE.
inline contents parse(std::span<std::byte const> bytes) {
  detail::cursor in{bytes};
  contents result;
  auto const magic = in.number<std::uint32_t>();
  if (magic == detail::buffer_magic) {
    in.number<std::int32_t>();  // the sequence it was saved from
  } else if (magic == detail::file_magic) {
    result.form = form::file;
    result.version = in.number<std::uint32_t>();
    detail::expects(result.version == 2 || result.version == 3, "llama_state", "the version of the file must be 2 or 3",
                    "version", result.version);
    result.listed_tokens = in.number<std::uint32_t>();
    in.take(result.listed_tokens, sizeof(std::int32_t));
  } else {
    detail::expects(magic != detail::session_magic, "llama_state",
                    "a session of a whole context is not supported; save one sequence");
    detail::refuse("llama_state", "is no sequence state of llama.cpp", {{"magic", magic}});
  }
  result.head = bytes.first(bytes.size() - in.rest().size());
  result.base = detail::read_section(in);
  if (!in.rest().empty()) result.window = detail::read_section(in);
  detail::refuse_other_memories(in);
  detail::expects(in.rest().empty(), "llama_state", "there must be one section or two, and nothing after them", "left",
                  in.rest().size());
  return result;
}

}  // namespace tightkv::llama_state
