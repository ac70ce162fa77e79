// SPDX-License-Identifier: Apache-2.0
#include <tightkv/interop/gguf_writer.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <engine/gguf_builder.hpp>
#include <support/temporary_directory.hpp>

namespace gguf_writer_test {

using namespace tightkv;
using test::byte_writer;
using test::gguf_builder;
using test::value_type;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<float> const numbers{1, 2, 3, 4, 5, 6};

/// Every kind of metadata value, and tensors whose sizes are no multiples of the alignment.
gguf_builder varied() {
  gguf_builder b;
  b.set("general.architecture", "llama").set("heads", 9U).set("eps", 0.5F);
  b.set("names", std::vector<std::string>{"a", "", "ccc"}).set("types", std::vector<std::int32_t>{3, -1});
  b.entry("yes", value_type::boolean, byte_writer{}.number(std::uint8_t{1}));
  b.entry("large", value_type::f64, byte_writer{}.number(1e300));
  byte_writer nested;
  nested.number(value_type::array).number(std::uint64_t{1});
  nested.number(value_type::boolean).number(std::uint64_t{2}).number(std::uint8_t{1}).number(std::uint8_t{0});
  b.entry("nested", value_type::array, nested);
  b.tensor("first", {3}, std::span(numbers).first(3)).tensor("second", {3, 2}, numbers);
  b.tensor("third", {1}, std::span(numbers).first(1));
  return b;
}

std::vector<std::byte> bytes_in(std::filesystem::path const& path) {
  auto const text = tests::text_in(path);
  auto const bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

gguf::tensor floats(std::string_view name, std::span<float const> values) {
  gguf::tensor t{.name = name, .dimensions = 1};
  t.shape[0] = values.size();
  t.data = std::as_bytes(values);
  return t;
}

/// Writes `varied()` with changes, and holds the result.
struct written {
  explicit written(gguf::changes const& what, gguf_builder const& from = varied()) : original(from.build()) {
    gguf::write(here / "out", gguf::file{original}, what);
    bytes = bytes_in(here / "out");
  }
  tests::temporary_directory here{};
  std::vector<std::byte> original;
  std::vector<std::byte> bytes{};
};

float first_of(gguf::tensor const& t) {
  float x = 0;
  std::memcpy(&x, t.data.data(), sizeof x);
  return x;
}

TEST(gguf_writer, without_changes_the_file_is_the_same) {
  written const w{{}};
  auto expected = w.original;
  expected.resize((expected.size() + 31) / 32 * 32);  // the last tensor is padded too, as llama.cpp does
  EXPECT_EQ(w.bytes, expected);
}

TEST(gguf_writer, changes_what_it_is_told_and_nothing_else) {
  std::vector<float> const longer(50, 7.0F);
  written const w{{.metadata = {{"heads", std::uint32_t{3}}, {"new", std::string_view{"text"}}},
                   .tensors = {floats("first", longer), floats("fourth", std::span(numbers).last(2))}}};
  gguf::file const before{w.original};
  gguf::file const after{w.bytes};
  EXPECT_EQ(after.get<int>("heads"), 3);
  EXPECT_EQ(after.get<std::string_view>("new"), "text");
  ASSERT_EQ(after.metadata().size(), before.metadata().size() + 1);
  for (std::size_t i = 0; i < before.metadata().size(); ++i) {
    EXPECT_EQ(after.metadata()[i].key, before.metadata()[i].key);
    EXPECT_EQ(after.metadata()[i].value.index(), before.metadata()[i].value.index());
  }
  EXPECT_THAT(after.get_vector<std::string_view>("names"), ElementsAre("a", "", "ccc"));
  EXPECT_EQ(after.get<double>("large"), 1e300);

  ASSERT_EQ(after.tensors().size(), 4U);
  EXPECT_EQ(after.tensor("first").elements(), 50U);
  EXPECT_EQ(first_of(after.tensor("first")), 7.0F);
  EXPECT_EQ(first_of(after.tensor("fourth")), 5.0F);
  for (char const* name : {"second", "third"}) {
    auto const was = before.tensor(name).data;
    auto const is = after.tensor(name).data;
    EXPECT_TRUE(std::ranges::equal(was, is)) << name;
    EXPECT_EQ(after.tensor(name).shape, before.tensor(name).shape);
  }
}

// llama.cpp refuses a file whose tensors do not lie one behind the other.
TEST(gguf_writer, tensors_lie_one_behind_the_other_on_the_files_alignment) {
  auto b = varied();
  b.alignment = 64;
  gguf_builder wide;
  wide.alignment = 64;
  wide.set("general.alignment", 64U).tensor("a", {3}, std::span(numbers).first(3)).tensor("b", {6}, numbers);
  written const w{{.tensors = {floats("a", std::vector<float>(17, 1.0F))}}, wide};
  gguf::file const after{w.bytes};
  EXPECT_EQ(after.tensor("a").offset, 0U);
  EXPECT_EQ(after.tensor("b").offset, 128U);
  EXPECT_EQ(w.bytes.size() % 64, 0U);
  EXPECT_EQ(first_of(after.tensor("b")), 1.0F);
}

TEST(gguf_writer, writes_halves_and_blocks) {
  std::vector<std::uint16_t> const halves{0x3E00, 0xC000};
  std::vector<std::byte> const block(34, std::byte{1});  // Q8_0: 32 elements
  gguf::tensor h{.name = "first", .dimensions = 1, .shape = {2, 1, 1, 1}, .type = gguf::tensor_type::f16};
  h.data = std::as_bytes(std::span(halves));
  gguf::tensor q{.name = "second", .dimensions = 1, .shape = {32, 1, 1, 1}, .type = gguf::tensor_type::q8_0};
  q.data = block;
  written const w{{.tensors = {h, q}}};
  gguf::file const after{w.bytes};
  EXPECT_TRUE(std::ranges::equal(after.tensor("first").data, h.data));
  EXPECT_TRUE(std::ranges::equal(after.tensor("second").data, q.data));
}

std::string refusal_of(gguf::changes const& what) {
  tests::temporary_directory const here;
  tests::put(here / "out", "old");
  auto const original = varied().build();
  try {
    gguf::write(here / "out", gguf::file{original}, what);
  } catch (bad_argument const& e) {
    EXPECT_EQ(tests::text_in(here / "out"), "old");
    EXPECT_THAT(here.names(), ElementsAre("out"));
    return e.what();
  }
  return "accepted";
}

TEST(gguf_writer, refuses_what_could_not_be_read_again) {
  auto wrong = floats("first", numbers);
  wrong.shape[0] = 5;
  EXPECT_THAT(refusal_of({.tensors = {wrong}}), HasSubstr("as many as shape and type say"));
  wrong.shape = {1ULL << 63U, 1ULL << 63U, 4, 1};  // the product overflows
  wrong.dimensions = 3;
  EXPECT_THAT(refusal_of({.tensors = {wrong}}), HasSubstr("as many as shape and type say"));
  wrong.shape = {0, 1, 1, 1};
  EXPECT_THAT(refusal_of({.tensors = {wrong}}), HasSubstr("as many as shape and type say"));
  wrong.dimensions = 5;
  EXPECT_THAT(refusal_of({.tensors = {wrong}}), HasSubstr("1 to 4 dimensions"));
  auto const twice = floats("new", numbers);
  EXPECT_THAT(refusal_of({.tensors = {twice, twice}}), HasSubstr("written twice"));
  EXPECT_THAT(refusal_of({.tensors = {floats("", numbers)}}), HasSubstr("1 to 64 characters"));
  EXPECT_THAT(refusal_of({.tensors = {floats(std::string(65, 'x'), numbers)}}), HasSubstr("1 to 64 characters"));
  EXPECT_THAT(refusal_of({.metadata = {{"heads", 1U}, {"heads", 2U}, {"new", 1U}, {"new", 1U}}}),
              HasSubstr("written twice"));
  EXPECT_THAT(refusal_of({.metadata = {{"general.alignment", 64U}}}), HasSubstr("alignment"));
}

}  // namespace gguf_writer_test
