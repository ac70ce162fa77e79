// SPDX-License-Identifier: Apache-2.0
/// Text to tokens and back: byte-level BPE as GPT-2 introduced it, with the vocabulary of a GGUF file.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <tightkv/interop/gguf.hpp>

namespace engine {

using token = std::int32_t;

/// What `<|im_start|>` and its like are when they stand in the text.
enum class special_tokens { are_text, are_recognised };

///     auto const tokenizer = engine::tokenizer{file};
///     auto const tokens = tokenizer.encode("Hello, world!");
///
/// Refuses vocabularies of another kind than `gpt2` and other cuts than `smollm`'s. Keeps nothing of the file.
class tokenizer {
 public:
  explicit tokenizer(tightkv::gguf::file const& file);

  /// The tokens of `text`; none is added. A byte that the vocabulary has no token for is left out, as the model's own
  /// tokeniser does.
  std::vector<token> encode(std::string_view text, special_tokens specials = special_tokens::are_text) const;
  /// The text of `tokens`.
  std::string decode(std::span<token const> tokens) const;

  int vocabulary() const noexcept { return static_cast<int>(pieces_.size()); }
  /// The token to put before a text, where the model wants one.
  std::optional<token> beginning() const noexcept { return beginning_; }
  /// The token that ends an answer, where there is one.
  std::optional<token> end() const noexcept { return end_; }

 private:
  struct merge {
    std::int32_t rank;
    token result;
  };

  void read_merges(tightkv::gguf::file const& file, std::unordered_map<std::string_view, token> const& ids);
  void read_specials(tightkv::gguf::file const& file);
  void encode_word(std::string_view word, std::vector<token>& out) const;
  void encode_text(std::string_view text, std::vector<token>& out) const;

  std::vector<std::string> pieces_;  // as bytes
  std::array<token, 256> of_byte_{};
  std::unordered_map<std::uint64_t, merge> merges_;
  std::vector<token> specials_;
  std::optional<token> beginning_;
  std::optional<token> end_;
};

}  // namespace engine
