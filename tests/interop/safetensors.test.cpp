// SPDX-License-Identifier: Apache-2.0
#include <tightkv/interop/safetensors.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <support/temporary_directory.hpp>

namespace safetensors_test {

namespace st = tightkv::safetensors;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<std::byte const> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// A file with this header and this data.
std::string file_of(std::string_view header, std::string_view data = "") {
  std::string file;
  for (std::uint64_t n = header.size(), i = 0; i < 8; ++i) file += static_cast<char>(n >> (8 * i) & 0xff);
  return file.append(header).append(data);
}

// What `parse` says about it.
std::string complaint(std::string_view file) {
  try {
    st::parse(bytes_of(file));
  } catch (tightkv::bad_argument const& e) {
    EXPECT_THAT(e.what(), ::testing::StartsWith("tightkv::safetensors: "));
    EXPECT_THAT(e.what(), ::testing::Not(HasSubstr("\n")));
    return e.what();
  }
  return "nothing";
}

// A tensor of bytes, and a header with one entry.
constexpr std::string_view one_byte = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
std::string entry(std::string const& dtype, std::string const& shape, std::string const& offsets,
                  std::string const& name = "a") {
  return '"' + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + '}';
}
std::string complaint_about(std::string const& entries, std::string_view data = "") {
  return complaint(file_of("{" + entries + "}", data));
}

// import numpy as np; from safetensors.numpy import save
// save({"scores": np.array([[1.5, -2]], np.float32), "kept": np.array([0, 3, 7], np.int32),
//       "keys": np.array([[1, 2], [.5, -4]], np.float16), "none": np.zeros((2, 0, 4), np.float32)},
//      metadata={'mod\u00e8le "a"\n': "tiny"})                            # safetensors 0.8.0
std::string const from_python =
    file_of(R"({"__metadata__":{"mod)"
            "\xc3\xa8"
            R"(le \"a\"\n":"tiny"},)"
            R"("none":{"dtype":"F32","shape":[2,0,4],"data_offsets":[0,0]},)"
            R"("scores":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
            R"("kept":{"dtype":"I32","shape":[3],"data_offsets":[8,20]},)"
            R"("keys":{"dtype":"F16","shape":[2,2],"data_offsets":[20,28]}})",
            std::string_view("\0\0\xc0?\0\0\0\xc0\0\0\0\0\3\0\0\0\7\0\0\0\0<\0@\0008\0\xc4", 28));

TEST(safetensors, reads_what_python_wrote) {
  auto const file = st::parse(bytes_of(from_python));
  ASSERT_EQ(file.tensors.size(), 4U);
  EXPECT_THAT(file.metadata, ElementsAre(std::pair<std::string const, std::string>("mod\xc3\xa8le \"a\"\n", "tiny")));

  std::vector<float> scores;
  EXPECT_THAT(file.at("scores").as<float>(scores), ElementsAre(1.5F, -2.0F));
  EXPECT_THAT(file.at("scores").shape, ElementsAre(1, 2));
  std::vector<std::int32_t> kept;
  EXPECT_THAT(file.at("kept").as<std::int32_t>(kept), ElementsAre(0, 3, 7));
  std::vector<tightkv::half> keys;
  EXPECT_EQ(static_cast<float>(file.at("keys").as<tightkv::half>(keys)[3]), -4.0F);
  EXPECT_THAT(file.at("none").shape, ElementsAre(2, 0, 4));
  EXPECT_TRUE(file.at("none").as<float>().empty());
}

TEST(safetensors, writes_what_python_would_write) {
  tests::temporary_directory const here;
  st::write(here / "copy", st::parse(bytes_of(from_python)));
  EXPECT_EQ(tests::text_in(here / "copy"), from_python);
}

TEST(safetensors, a_tensor_points_into_the_file) {
  auto const file = file_of("{" + entry("U8", "[3]", "[0,3]") + "}", "xyz");
  EXPECT_EQ(static_cast<void const*>(st::parse(bytes_of(file)).at("a").bytes.data()), &file[file.size() - 3]);
}

TEST(safetensors, round_trips_every_element_type_and_aligns_each) {
  std::vector<std::byte> const data(8 * 3, std::byte{7});
  st::contents what;
  for (int i = 0; i < 15; ++i) {
    auto const type = static_cast<st::dtype>(i);
    what.tensors.push_back({std::string(st::name_of(type)), type, {3}, std::span(data).first(3 * st::bytes_of(type))});
  }
  tests::temporary_directory const here;
  st::write(here / "all", what);
  auto const file = tightkv::read_file(here / "all");
  auto const back = st::parse(file.bytes());
  ASSERT_EQ(back.tensors.size(), 15U);
  for (auto const& t : what.tensors) {
    auto const& found = back.at(t.name);
    EXPECT_EQ(found.dtype, t.dtype);
    EXPECT_THAT(found.bytes, ::testing::ElementsAreArray(t.bytes));
    EXPECT_EQ((found.bytes.data() - file.bytes().data()) % static_cast<int>(st::bytes_of(t.dtype)), 0) << t.name;
  }
  EXPECT_EQ(back.at("F64").as<double>().size(), 3U);
}

TEST(safetensors, the_order_given_does_not_change_the_file) {
  std::vector<float> const f{1};
  std::vector<tightkv::bfloat16> const h{tightkv::bfloat16{2.0F}};
  auto const a = st::tensor_of<float>("a", {1}, f), b = st::tensor_of<float>("b", {}, f);
  auto const c = st::tensor_of<tightkv::bfloat16>("c", {1, 1}, h);
  tests::temporary_directory const here;
  st::write(here / "1", {{a, b, c}, {}});
  st::write(here / "2", {{c, b, a}, {}});
  EXPECT_EQ(tests::text_in(here / "1"), tests::text_in(here / "2"));
}

TEST(safetensors, a_file_may_be_without_tensors_or_full_of_spaces) {
  EXPECT_TRUE(st::parse(bytes_of(file_of("{}"))).tensors.empty());
  EXPECT_TRUE(st::parse(bytes_of(file_of("{ \n}      "))).tensors.empty());
  EXPECT_EQ(st::parse(bytes_of(file_of(R"({"__metadata__":{"a":""}})"))).metadata.size(), 1U);
}

TEST(safetensors, elements_that_are_not_aligned_are_refused_in_place_and_copied_on_request) {
  auto const text = file_of("{" + entry("F32", "[1]", "[0,4]") + "}", std::string_view("\0\0\xc0?", 4));
  std::vector<float> buffer(text.size());
  // The data, the last four bytes, come to lie one byte after where a float may lie.
  auto const shifted = std::as_writable_bytes(std::span(buffer)).subspan(5 - text.size() % 4, text.size());
  std::memcpy(shifted.data(), text.data(), text.size());
  auto const t = st::parse(shifted).at("a");
  EXPECT_THROW(t.as<float>(), tightkv::bad_argument);
  std::vector<float> storage;
  EXPECT_THAT(t.as<float>(storage), ElementsAre(1.5F));
  EXPECT_EQ(storage.size(), 1U);
}

TEST(safetensors, asking_for_another_element_type_or_tensor_is_refused) {
  auto const text = file_of("{" + entry("I32", "[1]", "[0,4]") + "}", "abcd");
  auto const file = st::parse(bytes_of(text));
  std::vector<float> storage;
  EXPECT_THROW(file.at("a").as<float>(storage), tightkv::bad_argument);
  EXPECT_EQ(file.find("b"), nullptr);
  EXPECT_THROW(file.at("b"), tightkv::bad_argument);
}

TEST(safetensors, a_header_length_that_does_not_fit_is_refused) {
  EXPECT_THAT(complaint(""), HasSubstr("too short"));
  EXPECT_THAT(complaint(file_of("{}").substr(0, 7)), HasSubstr("too short"));
  EXPECT_THAT(complaint(file_of("{}").substr(0, 9)), HasSubstr("must fit"));
  EXPECT_THAT(complaint(std::string(8, '\xff') + "{}"), HasSubstr("must fit"));
  EXPECT_THAT(complaint(std::string(8, '\0') + "{}"), HasSubstr("begin with {"));
  EXPECT_THAT(complaint(file_of("{" + std::string(100'000'000, ' ') + "}")), HasSubstr("100 MB"));
}

TEST(safetensors, a_header_that_is_not_json_is_refused) {
  using namespace std::string_literals;
  EXPECT_THAT(complaint(file_of(" {}")), HasSubstr("begin with {"));
  EXPECT_THAT(complaint(file_of("[]")), HasSubstr("begin with {"));
  EXPECT_THAT(complaint(file_of("{")), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint(file_of("{}{}")), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint(file_of("{}\0"s)), HasSubstr("zero bytes"));
  EXPECT_THAT(complaint(file_of("{/**/}")), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint_about("\"\xc3\":" + std::string(one_byte), "x"), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint_about(R"("\ud800":)" + std::string(one_byte), "x"), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint_about(R"("a":1e999)"), HasSubstr("not valid JSON"));
}

TEST(safetensors, nesting_costs_neither_stack_nor_memory) {
  for (auto const* opening : {"[", "{\"a\":"}) {
    std::string deep = "{\"a\":";
    for (int i = 0; i < 1'000'000; ++i) deep += opening;
    EXPECT_THAT(complaint(file_of(deep)), HasSubstr("does not belong"));
  }
}

TEST(safetensors, what_the_format_does_not_have_is_refused) {
  for (auto const* value : {"null", "true", "1", "-1", "0.5", "\"text\"", "[]"}) {
    EXPECT_THAT(complaint_about(std::string("\"a\":") + value), HasSubstr("does not belong")) << value;
    EXPECT_THAT(complaint_about(std::string("\"__metadata__\":") + value), HasSubstr("does not belong")) << value;
  }
  for (auto const* value : {"null", "true", "1", "-1", "0.5", "{}", "[]"}) {
    EXPECT_THAT(complaint_about(std::string(R"("__metadata__":{"a":)") + value + "}"), HasSubstr("does not belong"));
    EXPECT_THAT(complaint_about(std::string(R"("a":{"dtype":)") + value + "}"), HasSubstr("does not belong")) << value;
  }
  for (auto const* value : {"null", "true", "-1", "-0", "0.5", "1e2", "18446744073709551616", "\"1\"", "{}", "[]"}) {
    auto const list = std::string("[") + value + "]";
    EXPECT_THAT(complaint_about(entry("U8", list, "[0,1]"), "x"), HasSubstr("does not belong")) << value;
    EXPECT_THAT(complaint_about(entry("U8", "[1]", list), "x"), HasSubstr("does not belong")) << value;
  }
  EXPECT_THAT(complaint_about(R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"stride":"x"})", "x"),
              HasSubstr("does not belong"));
}

TEST(safetensors, an_entry_must_be_complete) {
  EXPECT_THAT(complaint_about(R"("a":{})"), HasSubstr("must have dtype, shape and data_offsets"));
  EXPECT_THAT(complaint_about(R"("a":{"dtype":"U8","shape":[1]})", "x"), HasSubstr("must have"));
  EXPECT_THAT(complaint_about(R"("a":{"shape":[1],"data_offsets":[0,1]})", "x"), HasSubstr("must have"));
  EXPECT_THAT(complaint_about(R"("a":{"dtype":"U8","data_offsets":[0,1]})", "x"), HasSubstr("must have"));
  EXPECT_THAT(complaint_about(entry("U8", "[1]", "[]"), "x"), HasSubstr("two numbers"));
  EXPECT_THAT(complaint_about(entry("U8", "[1]", "[0]"), "x"), HasSubstr("two numbers"));
  EXPECT_THAT(complaint_about(entry("U8", "[1]", "[0,1,1]"), "x"), HasSubstr("two numbers"));
}

TEST(safetensors, a_key_that_appears_twice_is_refused) {
  auto const a = entry("U8", "[1]", "[0,1]");
  EXPECT_THAT(complaint_about(a + "," + entry("U8", "[1]", "[1,2]"), "xy"), HasSubstr("twice"));
  EXPECT_THAT(complaint_about(a + "," + entry("U8", "[1]", "[1,2]", R"(\u0061)"), "xy"), HasSubstr("twice"));
  EXPECT_THAT(complaint_about(R"("__metadata__":{},"__metadata__":{})"), HasSubstr("twice"));
  EXPECT_THAT(complaint_about(R"("__metadata__":{"a":"1","a":"2"})"), HasSubstr("twice"));
  for (auto const* key : {R"("dtype":"U8")", R"("shape":[1])", R"("data_offsets":[0,1])"}) {
    EXPECT_THAT(complaint_about("\"a\":{" + std::string(key) + "," + key + "}", "x"), HasSubstr("twice")) << key;
  }
}

TEST(safetensors, an_unknown_element_type_is_named) {
  EXPECT_THAT(complaint_about(entry("F4", "[2]", "[0,1]"), "x"), HasSubstr("dtype = F4"));
  EXPECT_THAT(complaint_about(entry("f32", "[1]", "[0,4]"), "abcd"), HasSubstr("dtype = f32"));
  EXPECT_THAT(complaint_about(entry(R"(\u0000\n)", "[1]", "[0,4]"), "abcd"), HasSubstr("dtype = ??"));
}

TEST(safetensors, a_shape_whose_product_overflows_is_refused) {
  EXPECT_THAT(complaint_about(entry("U8", "[9223372036854775808,2]", "[0,0]")), HasSubstr("overflows"));
  EXPECT_THAT(complaint_about(entry("U8", "[4294967296,4294967296]", "[0,0]")), HasSubstr("overflows"));
  EXPECT_THAT(complaint_about(entry("F64", "[2305843009213693952]", "[0,0]")), HasSubstr("overflows"));
  EXPECT_THAT(complaint_about(entry("U8", "[18446744073709551615,18446744073709551615,0]", "[0,0]")),
              HasSubstr("overflows"));
}

TEST(safetensors, offsets_must_lie_in_the_file_match_the_shape_and_leave_neither_holes_nor_overlaps) {
  EXPECT_THAT(complaint_about(entry("U8", "[2]", "[0,2]"), "x"), HasSubstr("must lie in the file"));
  EXPECT_THAT(complaint_about(entry("U8", "[1]", "[0,18446744073709551615]"), "x"), HasSubstr("must lie in the file"));
  EXPECT_THAT(complaint_about(entry("U8", "[3]", "[0,2]"), "xy"), HasSubstr("match shape and dtype"));
  EXPECT_THAT(complaint_about(entry("F32", "[1]", "[0,2]"), "xy"), HasSubstr("match shape and dtype"));
  EXPECT_THAT(complaint_about(entry("U8", "[1]", "[1,2]"), "xy"), HasSubstr("holes or overlaps"));
  EXPECT_THAT(complaint_about(entry("U8", "[1]", "[1,0]"), "xy"), HasSubstr("holes or overlaps"));
  auto const a = entry("U8", "[2]", "[0,2]") + ",";
  EXPECT_THAT(complaint_about(a + entry("U8", "[2]", "[1,3]", "b"), "xyz"), HasSubstr("holes or overlaps"));
  EXPECT_THAT(complaint_about(a + entry("U8", "[1]", "[3,4]", "b"), "xyzw"), HasSubstr("holes or overlaps"));
  EXPECT_THAT(complaint_about(entry("U8", "[1]", "[0,1]"), "xy"), HasSubstr("end with its last tensor"));
  EXPECT_THAT(complaint(file_of("{}", "x")), HasSubstr("end with its last tensor"));
}

TEST(safetensors, a_message_stays_one_short_line_whatever_the_names) {
  auto const long_name = std::string(10'000, 'n') + R"(\n)";
  EXPECT_LT(complaint_about(entry("U8", "[1]", "[1,2]", long_name), "xy").size(), 300U);
  EXPECT_THAT(complaint_about(entry("U8", "[1]", "[1,2]", R"(a\nb\u001b[0m)"), "xy"), HasSubstr("tensor = a?b?[0m"));
}

TEST(safetensors, a_write_that_fails_leaves_the_old_file_and_nothing_else) {
  tests::temporary_directory const here;
  tests::put(here / "out", "old");
  std::vector<float> const f{1, 2};
  auto const a = st::tensor_of<float>("a", {2}, f);
  auto wrong_shape = a, bad_name = a, reserved = a;
  wrong_shape.shape = {3};
  bad_name.name = "\xff";
  reserved.name = "__metadata__";
  for (auto const& what : std::vector<st::contents>{
           {{wrong_shape}, {}}, {{bad_name}, {}}, {{reserved}, {}}, {{a, a}, {}}, {{a}, {{"k", "\xff"}}}}) {
    EXPECT_THROW(st::write(here / "out", what), tightkv::bad_argument);
  }
  EXPECT_EQ(tests::text_in(here / "out"), "old");
  EXPECT_THAT(here.names(), ElementsAre("out"));
}

}  // namespace safetensors_test
