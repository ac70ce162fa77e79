// SPDX-License-Identifier: Apache-2.0
#include "tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <engine/gguf_builder.hpp>
#include <tightkv/core/error.hpp>

#include "pre_tokenizer.hpp"

namespace tokenizer_test {

using engine::token;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> result;
  engine::for_each_word(text, [&](std::string_view word) { result.emplace_back(word); });
  return result;
}

TEST(pre_tokenizer, keeps_one_space_with_the_word_after_it) {
  EXPECT_THAT(words("Hello, world!"), ElementsAre("Hello", ",", " world", "!"));
  EXPECT_THAT(words("  a   b "), ElementsAre(" ", " a", "  ", " b", " "));
  EXPECT_THAT(words("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(words("a \n b\t"), ElementsAre("a", " \n", " b", "\t"));
  EXPECT_THAT(words("\r\n\r\n"), ElementsAre("\r\n\r\n"));
  EXPECT_THAT(words(""), ElementsAre());
}

TEST(pre_tokenizer, parts_every_digit) {
  EXPECT_THAT(words("x12 3  4a"), ElementsAre("x", "1", "2", " ", "3", "  ", "4", "a"));
  EXPECT_THAT(words("½²"), ElementsAre("½", "²"));
}

TEST(pre_tokenizer, cuts_contractions_where_they_begin) {
  EXPECT_THAT(words("it's we'll"), ElementsAre("it", "'s", " we", "'ll"));
  EXPECT_THAT(words("IT'S ''s 's"), ElementsAre("IT", "'", "S", " ''", "s", " '", "s"));
}

TEST(pre_tokenizer, knows_letters_and_spaces_of_other_scripts) {
  EXPECT_THAT(words("naïve Ελλά, Русский 漢字。"), ElementsAre("naïve", " Ελλά", ",", " Русский", " 漢字", "。"));
  EXPECT_THAT(words("a\u3000b\u00a0\u00a0c"), ElementsAre("a", "\u3000", "b", "\u00a0", "\u00a0", "c"));
}

TEST(pre_tokenizer, loses_no_byte_of_broken_utf8) {
  for (std::string const text :
       {"a\xff\xfe b", "\xe6\xbc", "\xc0\x80x", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80\x80 \xc3"}) {
    std::string joined;
    for (auto const& w : words(text)) joined += w;
    EXPECT_EQ(joined, text);
  }
}

/// The 256 bytes but for 0x04, then merges of `ab`, `abc`, `bc`, ` a`, and a special token.
test::gguf_builder vocabulary(std::vector<std::string> const& merges = {"a b", "ab c", "b c", "\u0120 a"}) {
  std::vector<std::string> pieces;
  std::vector<std::int32_t> types;
  int next = 256;
  for (int b = 0; b < 256; ++b) {
    bool const printable = (33 <= b && b <= 126) || (161 <= b && b <= 172) || 174 <= b;
    int const code = printable ? b : next++;
    if (b == 4) continue;
    pieces.push_back(code < 128
                         ? std::string(1, static_cast<char>(code))
                         : std::string{static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))});
  }
  for (auto const* p : {"ab", "abc", "bc", "\u0120a", "<|end|>", "<|end|>er"}) pieces.emplace_back(p);
  types.assign(pieces.size(), 1);
  types[types.size() - 2] = types.back() = 3;
  test::gguf_builder b;
  b.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "smollm");
  b.set("tokenizer.ggml.tokens", pieces).set("tokenizer.ggml.token_type", types).set("tokenizer.ggml.merges", merges);
  b.set("tokenizer.ggml.bos_token_id", 259U).set("tokenizer.ggml.eos_token_id", 259U);
  return b;
}

engine::tokenizer tokenizer_of(test::gguf_builder const& b) {
  auto const bytes = b.build();
  return engine::tokenizer{tightkv::gguf::file{bytes}};
}

constexpr token ab = 255;
constexpr token abc = 256;
constexpr token bc = 257;
constexpr token space_a = 258;
constexpr token end = 259;
constexpr token ender = 260;

TEST(tokenizer, merges_what_was_learnt_first) {
  auto const t = tokenizer_of(vocabulary());
  EXPECT_EQ(t.vocabulary(), 261);
  EXPECT_THAT(t.encode("abc"), ElementsAre(abc));
  EXPECT_THAT(t.encode("bcab"), ElementsAre(bc, ab));
  EXPECT_THAT(t.encode("b abab"), ElementsAre('b' - 1, ' ' - 1, ab, ab));  // "a b" goes before "Ġ a"
  EXPECT_THAT(t.encode(" a"), ElementsAre(space_a));
  EXPECT_THAT(tokenizer_of(vocabulary({"b c", "a b"})).encode("abc"), ElementsAre('a' - 1, bc));
  EXPECT_THAT(tokenizer_of(vocabulary({"a b"})).encode("aab"), ElementsAre('a' - 1, ab));
}

TEST(tokenizer, gives_the_text_back_byte_for_byte) {
  auto const t = tokenizer_of(vocabulary());
  std::string const text = "abc äß\t漢字\r\n\xff\x00 x";
  EXPECT_EQ(t.decode(t.encode(text)), text);
  EXPECT_EQ(t.decode(t.encode("a\x04"
                              "b")),
            "ab");  // no token for it
  EXPECT_EQ(t.decode(std::vector<token>{end, ab}), "<|end|>ab");
  EXPECT_THROW(t.decode(std::vector<token>{261}), tightkv::bad_argument);
}

TEST(tokenizer, takes_special_tokens_for_text_unless_told) {
  auto const t = tokenizer_of(vocabulary());
  EXPECT_EQ(t.encode("<|end|>").size(), 7U);
  EXPECT_THAT(t.encode("ab<|end|>ab<|end|>er<|end", engine::special_tokens::are_recognised),
              ElementsAre(ab, end, ab, ender, '<' - 1, '|' - 1, 'e' - 1, 'n' - 1, 'd' - 1));
}

TEST(tokenizer, says_what_the_model_wants_before_a_text) {
  EXPECT_EQ(tokenizer_of(vocabulary()).beginning(), std::nullopt);
  EXPECT_EQ(tokenizer_of(vocabulary()).end(), end);
  auto b = vocabulary();
  b.entry("tokenizer.ggml.add_bos_token", test::value_type::boolean, test::byte_writer{}.number(std::uint8_t{1}));
  EXPECT_EQ(tokenizer_of(b).beginning(), end);
}

TEST(tokenizer, takes_long_words_in_its_stride) {
  auto const t = tokenizer_of(vocabulary());
  std::string text;
  for (int i = 0; i < 200000; ++i) text += "ab";
  EXPECT_EQ(t.encode(text).size(), 200000U);
}

std::string refusal_of(test::gguf_builder const& b) {
  try {
    tokenizer_of(b);
  } catch (tightkv::bad_argument const& e) {
    return e.what();
  }
  return "accepted";
}

TEST(tokenizer, refuses_other_vocabularies) {
  test::gguf_builder other;
  other.set("tokenizer.ggml.model", "llama");
  EXPECT_THAT(refusal_of(other), HasSubstr("gpt2"));
  test::gguf_builder cut;
  cut.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "llama-bpe");
  EXPECT_THAT(refusal_of(cut), HasSubstr("smollm"));
  EXPECT_THAT(refusal_of(vocabulary({"ab"})), HasSubstr("two pieces"));
  EXPECT_THAT(refusal_of(vocabulary({"c c"})), HasSubstr("must be in the vocabulary"));
}

}  // namespace tokenizer_test
