// SPDX-License-Identifier: Apache-2.0
/// Cuts text into the words a byte-level BPE works on: every digit apart, then GPT-2's pattern.
#pragma once

#include <string_view>

#include "unicode.hpp"

namespace engine {

/// Calls `f` with each word of `text`, in order; together they are the text. The rule is SmolLM's: each `\p{N}` is a
/// word, and what lies between them is cut by
///
///     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
template <class F>
void for_each_word(std::string_view text, F&& f);

namespace detail {

/// The bytes at the front of `text` that are all of one class.
inline std::size_t run_of(std::string_view text, char_class wanted) {
  std::size_t length = 0;
  while (length < text.size()) {
    auto const c = front_of(text.substr(length));
    if (class_of(c.code) != wanted) break;
    length += c.bytes;
  }
  return length;
}

inline std::size_t contraction(std::string_view text) {
  for (std::string_view const ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.starts_with(ending)) return ending.size();
  }
  return 0;
}

/// White space, but for the last character when something other than a number or the end follows: that one goes with
/// it.
inline std::size_t white_space(std::string_view text) {
  std::size_t length = 0;
  std::size_t last = 0;
  while (length < text.size()) {
    auto const c = front_of(text.substr(length));
    auto const kind = class_of(c.code);
    if (kind == char_class::number) return length;
    if (kind != char_class::space) return length > last ? length - last : length;
    length += c.bytes;
    last = c.bytes;
  }
  return length;
}

/// The length of the first word of `text`, which must not be empty.
inline std::size_t first_word(std::string_view text) {
  if (auto const length = contraction(text)) return length;
  std::size_t const space = text.front() == ' ' ? 1 : 0;
  auto const rest = text.substr(space);
  if (!rest.empty()) {
    auto const c = front_of(rest);
    auto const kind = class_of(c.code);
    if (kind == char_class::number && space == 0) return c.bytes;
    if (kind == char_class::letter || kind == char_class::other) return space + run_of(rest, kind);
  }
  return white_space(text);
}

}  // namespace detail

template <class F>
void for_each_word(std::string_view text, F&& f) {
  while (!text.empty()) {
    auto const length = detail::first_word(text);
    f(text.substr(0, length));
    text.remove_prefix(length);
  }
}

}  // namespace engine
