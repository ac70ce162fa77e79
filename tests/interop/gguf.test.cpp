// SPDX-License-Identifier: Apache-2.0
#include <tightkv/interop/gguf.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include <engine/gguf_builder.hpp>

namespace gguf_test {

using namespace tightkv;
using test::byte_writer;
using test::gguf_builder;
using test::tensor_type;
using test::value_type;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto huge = std::numeric_limits<std::uint64_t>::max();

std::string refusal_of(std::vector<std::byte> const& bytes) {
  try {
    gguf::file{bytes};
  } catch (bad_argument const& e) {
    return e.what();
  }
  return "accepted";
}

gguf_builder with_tensor(test::tensor_record const& t, std::size_t data_bytes = 64) {
  gguf_builder b;
  b.record(t).data(std::vector<std::byte>(data_bytes));
  return b;
}

gguf_builder small() {
  std::vector<float> const two_by_three{1, 2, 3, 4, 5, 6};
  gguf_builder b;
  b.set("general.architecture", "llama").set("llama.block_count", 30U).set("eps", 0.5F);
  b.set("names", std::vector<std::string>{"a", "", "ccc"}).set("types", std::vector<std::int32_t>{3, -1});
  b.entry("yes", value_type::boolean, byte_writer{}.number(std::uint8_t{1}));
  b.tensor("w", {3, 2}, two_by_three).tensor("v", {2}, std::span(two_by_three).first(2));
  return b;
}

TEST(gguf, reads_metadata_by_key) {
  auto const bytes = small().build();
  gguf::file const file{bytes};
  EXPECT_EQ(file.version(), 3U);
  EXPECT_EQ(file.metadata().size(), 6U);
  EXPECT_EQ(file.metadata()[1].key, "llama.block_count");
  EXPECT_EQ(file.get<std::string_view>("general.architecture"), "llama");
  EXPECT_EQ(file.get<int>("llama.block_count"), 30);
  EXPECT_EQ(file.get<std::uint64_t>("llama.block_count"), 30U);
  EXPECT_EQ(file.get<double>("eps"), 0.5);
  EXPECT_TRUE(file.get<bool>("yes"));
  EXPECT_THAT(file.get_vector<std::string_view>("names"), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(file.get_vector<int>("types"), ElementsAre(3, -1));
  EXPECT_EQ(file.get_or("absent", 7), 7);
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST(gguf, refuses_values_of_another_kind) {
  auto const bytes = small().build();
  gguf::file const file{bytes};
  EXPECT_THROW(file.get<int>("absent"), bad_argument);
  EXPECT_THROW(file.get<int>("general.architecture"), bad_argument);
  EXPECT_THROW(file.get<int>("eps"), bad_argument);
  EXPECT_THROW(file.get<float>("llama.block_count"), bad_argument);
  EXPECT_THROW(file.get<int>("yes"), bad_argument);
  EXPECT_THROW(file.get_vector<int>("names"), bad_argument);
  EXPECT_THROW(file.get_vector<unsigned>("types"), bad_argument);  // one is negative
  EXPECT_THROW(file.get_vector<int>("eps"), bad_argument);
}

TEST(gguf, finds_tensors_where_they_lie) {
  auto const bytes = small().build();
  gguf::file const file{bytes};
  ASSERT_EQ(file.tensors().size(), 2U);
  auto const& w = file.tensor("w");
  EXPECT_EQ(w.dimensions, 2);
  EXPECT_THAT(w.shape, ElementsAre(3, 2, 1, 1));
  EXPECT_EQ(w.elements(), 6U);
  EXPECT_EQ(name_of(w.type), "F32");
  ASSERT_EQ(w.data.size(), 24U);
  float last = 0;
  std::memcpy(&last, w.data.data() + 20, sizeof last);
  EXPECT_EQ(last, 6.0F);
  EXPECT_EQ(file.tensor("v").offset, 32U);
  EXPECT_EQ(file.find_tensor("x"), nullptr);
  EXPECT_THROW(file.tensor("x"), bad_argument);
}

TEST(gguf, reads_every_type_of_value) {
  gguf_builder b;
  b.entry("u8", value_type::u8, byte_writer{}.number(std::uint8_t{200}));
  b.entry("i8", value_type::i8, byte_writer{}.number(std::int8_t{-100}));
  b.entry("u16", value_type::u16, byte_writer{}.number(std::uint16_t{60000}));
  b.entry("i16", value_type::i16, byte_writer{}.number(std::int16_t{-30000}));
  b.entry("i32", value_type::i32, byte_writer{}.number(std::int32_t{-5}));
  b.entry("u64", value_type::u64, byte_writer{}.number(huge));
  b.entry("i64", value_type::i64, byte_writer{}.number(std::int64_t{-6}));
  b.entry("f64", value_type::f64, byte_writer{}.number(0.1));
  byte_writer nested;
  nested.number(value_type::array).number(std::uint64_t{2});
  nested.number(value_type::u16).number(std::uint64_t{1}).number(std::uint16_t{9});
  nested.number(value_type::boolean).number(std::uint64_t{0});
  b.entry("nested", value_type::array, nested);
  auto const bytes = b.build();
  gguf::file const file{bytes};
  EXPECT_EQ(file.get<int>("u8"), 200);
  EXPECT_EQ(file.get<int>("i8"), -100);
  EXPECT_EQ(file.get<int>("u16"), 60000);
  EXPECT_EQ(file.get<int>("i16"), -30000);
  EXPECT_EQ(file.get<int>("i32"), -5);
  EXPECT_EQ(file.get<std::uint64_t>("u64"), huge);
  EXPECT_THROW(file.get<std::int64_t>("u64"), bad_argument);
  EXPECT_EQ(file.get<int>("i64"), -6);
  EXPECT_EQ(file.get<double>("f64"), 0.1);
  auto const arrays = file.get_vector<gguf::array>("nested");
  ASSERT_EQ(arrays.size(), 2U);
  EXPECT_EQ(arrays[0].size, 1U);
  EXPECT_EQ(arrays[0].bytes.size(), 2U);
  EXPECT_EQ(arrays[1].element, value_type::boolean);
}

TEST(gguf, reads_an_empty_file_of_version_2) {
  gguf_builder b;
  b.version = 2;
  EXPECT_EQ(refusal_of(b.build()), "accepted");
}

TEST(gguf, refuses_every_truncation) {
  auto const whole = small().build();
  ASSERT_EQ(refusal_of(whole), "accepted");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_NE(refusal_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)}), "accepted") << n;
  }
}

TEST(gguf, refuses_other_files_and_versions) {
  EXPECT_THAT(refusal_of(byte_writer{}.chars("GGML").number(0).bytes()), HasSubstr("must begin with GGUF"));
  gguf_builder b;
  b.version = 1;
  EXPECT_THAT(refusal_of(b.build()), HasSubstr("version must be 2 or 3 (got version = 1)"));
}

TEST(gguf, refuses_counts_that_cannot_be) {
  for (std::uint64_t const more : {std::uint64_t{1}, std::uint64_t{1} << 40, huge - 2}) {
    auto b = small();
    b.extra_tensors = more;
    EXPECT_NE(refusal_of(b.build()), "accepted");
    auto c = small();
    c.extra_entries = more;
    EXPECT_NE(refusal_of(c.build()), "accepted");
  }
}

TEST(gguf, refuses_lengths_that_cannot_be) {
  for (std::uint64_t const length : {std::uint64_t{1} << 40, huge, huge / 4 + 2}) {
    for (auto const type : {value_type::u8, value_type::f32, value_type::f64, value_type::string, value_type::array}) {
      gguf_builder b;
      b.entry("a", value_type::array, byte_writer{}.number(type).number(length).number(0));
      EXPECT_THAT(refusal_of(b.build()), HasSubstr("there cannot be so many"));
    }
    gguf_builder b;
    b.entry("s", value_type::string, byte_writer{}.number(length));
    EXPECT_THAT(refusal_of(b.build()), HasSubstr("ends too early"));
  }
}

TEST(gguf, refuses_types_and_values_that_are_none) {
  gguf_builder type;
  type.entry("x", static_cast<value_type>(13), byte_writer{}.number(std::uint64_t{0}));
  EXPECT_THAT(refusal_of(type.build()), HasSubstr("unknown type of a metadata value"));
  gguf_builder boolean;
  boolean.entry("x", value_type::boolean, byte_writer{}.number(std::uint8_t{2}));
  EXPECT_THAT(refusal_of(boolean.build()), HasSubstr("bool must be 0 or 1"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {4}, static_cast<tensor_type>(4)}).build()),
              HasSubstr("unknown tensor type"));
}

TEST(gguf, refuses_deep_nesting) {
  byte_writer w;
  for (int i = 0; i < 100000; ++i) w.number(value_type::array).number(std::uint64_t{1});
  w.number(value_type::u8).number(std::uint64_t{0});
  gguf_builder b;
  b.entry("deep", value_type::array, w);
  EXPECT_THAT(refusal_of(b.build()), HasSubstr("nested too deeply"));
}

TEST(gguf, refuses_names_that_occur_twice_or_are_too_long) {
  gguf_builder keys;
  keys.set("k", 1U).set("k", 2U);
  EXPECT_THAT(refusal_of(keys.build()), HasSubstr("a key occurs twice (got name = k)"));
  gguf_builder long_key;
  long_key.set(std::string(65536, 'k'), 1U);
  EXPECT_THAT(refusal_of(long_key.build()), HasSubstr("key is too long"));
  gguf_builder tensors;
  tensors.tensor("t", {1}, std::vector<float>{1}).tensor("t", {1}, std::vector<float>{1});
  EXPECT_THAT(refusal_of(tensors.build()), HasSubstr("two tensors have the same name"));
  EXPECT_THAT(refusal_of(with_tensor({std::string(65, 't'), {4}}).build()), HasSubstr("name is too long"));
}

TEST(gguf, refuses_shapes_that_cannot_be) {
  EXPECT_THAT(refusal_of(with_tensor({"t", {}}).build()), HasSubstr("1 to 4 dimensions"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {1, 1, 1, 1, 1}}).build()), HasSubstr("1 to 4 dimensions"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {0}}).build()), HasSubstr("must not be empty"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {4, 0}}).build()), HasSubstr("must not be empty"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {33}, tensor_type::q8_0}).build()), HasSubstr("whole blocks"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {17}}).build()), HasSubstr("larger than the file"));
  // Products that wrap around to something small.
  EXPECT_THAT(refusal_of(with_tensor({"t", {std::uint64_t{1} << 62, 4}}).build()), HasSubstr("larger than the file"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {huge, huge, huge, huge}}).build()), HasSubstr("larger than the file"));
}

TEST(gguf, refuses_tensors_in_the_wrong_place) {
  EXPECT_EQ(refusal_of(with_tensor({"t", {8}, tensor_type::f32, 32}).build()), "accepted");
  EXPECT_THAT(refusal_of(with_tensor({"t", {4}, tensor_type::f32, 16}).build()), HasSubstr("not aligned"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {9}, tensor_type::f32, 32}).build()), HasSubstr("ends after the file"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {4}, tensor_type::f32, 64}).build()), HasSubstr("ends after the file"));
  EXPECT_THAT(refusal_of(with_tensor({"t", {4}, tensor_type::f32, huge - 31}).build()),
              HasSubstr("ends after the file"));
  auto overlapping = with_tensor({"a", {16}});
  overlapping.record({"b", {1}, tensor_type::f32, 32});
  EXPECT_THAT(refusal_of(overlapping.build()), HasSubstr("two tensors overlap (got first = a, second = b)"));
}

TEST(gguf, honours_the_alignment) {
  for (std::uint32_t const alignment : {1U, 8U, 4096U}) {
    gguf_builder b;
    b.alignment = alignment;
    b.set("general.alignment", alignment).tensor("t", {1}, std::vector<float>{2.5F});
    auto const bytes = b.build();
    float value = 0;
    std::memcpy(&value, gguf::file{bytes}.tensor("t").data.data(), sizeof value);
    EXPECT_EQ(value, 2.5F);
  }
  for (std::uint32_t const alignment : {0U, 24U}) {
    gguf_builder b;
    b.set("general.alignment", alignment);
    EXPECT_THAT(refusal_of(b.build()), HasSubstr("power of two"));
  }
}

TEST(gguf, messages_are_fit_to_print) {
  gguf_builder b;
  std::string const name = "\x1b[31m" + std::string(500, '\0');
  b.set(name, 1U).set(name, 2U);
  auto const message = refusal_of(b.build());
  EXPECT_THAT(message, HasSubstr("?[31m????"));
  EXPECT_LT(message.size(), 200U);
}

TEST(gguf, survives_changed_bytes) {
  auto const whole = small().build();
  std::mt19937 random{7};
  for (int round = 0; round < 20000; ++round) {
    auto bytes = whole;
    for (int i = 0; i < 3; ++i)
      bytes[random() % bytes.size()] = static_cast<std::byte>(random() % 5 == 0 ? 0xff : random());
    try {
      gguf::file const file{bytes};
      for (auto const& t : file.tensors()) ASSERT_LE(t.data.data() + t.data.size(), bytes.data() + bytes.size());
    } catch (bad_argument const&) {}
  }
}

}  // namespace gguf_test
