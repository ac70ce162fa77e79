// SPDX-License-Identifier: Apache-2.0
/// As much of Unicode as a tokeniser needs: reading UTF-8, and what is a letter, a number or a space.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>

namespace engine {

struct code_range {
  std::uint32_t first;
  std::uint32_t last;
};

#include "unicode_tables.inc"

enum class char_class { letter, number, space, other };

/// `\p{L}`, `\p{N}`, `\s` or none of them.
inline char_class class_of(std::uint32_t code) {
  auto const is_in = [code](std::span<code_range const> table) {
    auto const after = std::ranges::upper_bound(table, code, {}, &code_range::first);
    return after != table.begin() && code <= std::prev(after)->last;
  };
  constexpr code_range spaces[] = {{0x9, 0xd},       {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},
                                   {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
                                   {0x205f, 0x205f}, {0x3000, 0x3000}};
  if (is_in(spaces)) return char_class::space;
  if (is_in(letters)) return char_class::letter;
  if (is_in(numbers)) return char_class::number;
  return char_class::other;
}

/// One character of UTF-8: its code point, and how many bytes it takes.
struct utf8_char {
  std::uint32_t code;
  std::size_t bytes;
};

/// The character at the front of `text`, which must not be empty. A byte that does not belong to well-formed UTF-8 is a
/// character of its own, of no class.
inline utf8_char front_of(std::string_view text) {
  auto const byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  std::uint32_t const lead = byte(0);
  constexpr utf8_char broken{0xfffd, 1};
  if (lead < 0x80) return {lead, 1};
  std::size_t const bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return broken;
  std::uint32_t code = lead & (0x7fU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return broken;
    code = code << 6 | (byte(i) & 0x3fU);
  }
  constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  bool const surrogate = 0xd800 <= code && code <= 0xdfff;
  return code < smallest[bytes] || code > 0x10ffff || surrogate ? broken : utf8_char{code, bytes};
}

}  // namespace engine
