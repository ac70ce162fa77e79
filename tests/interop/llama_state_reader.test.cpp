// SPDX-License-Identifier: Apache-2.0
#include <tightkv/interop/llama_state_reader.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <interop/state_builder.hpp>
#include <tightkv/interop/llama_state_view.hpp>

namespace llama_state_reader_test {

using namespace tightkv;
using test::byte_writer;
using test::state_builder;
using test::stream_of_cells;
using test::tensor_type;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::vector<float> numbers(llama_state::decoded_row const& row) {
  std::vector<float> result;
  for (int d = 0; d < row.size; ++d) result.push_back(row[d]);
  return result;
}

/// Every row of the stream reads as it was stored.
void expect_rows(llama_state::stream const& read, stream_of_cells const& made) {
  auto const positions = [&] {
    std::vector<int> p;
    for (int c = 0; c < made.cells; ++c) p.push_back(made.position(c));
    std::ranges::sort(p);
    return p;
  }();
  for (bool const of_values : {false, true}) {
    auto const rows = of_values ? values_of(read, made.kv_heads, llama_state::rotation::none)
                                : keys_of(read, made.kv_heads, llama_state::rotation::none);
    ASSERT_EQ(rows.heads(), made.layers * made.kv_heads);
    ASSERT_EQ(rows.heads_per_layer(), made.kv_heads);
    ASSERT_EQ(rows.head_dim(), made.dim(of_values));
    for (int h = 0; h < rows.heads(); ++h) {
      ASSERT_EQ(rows.tokens(h), made.cells);
      for (int t = 0; t < made.cells; ++t) {
        auto const expected =
            made.stored(h / made.kv_heads, of_values, h % made.kv_heads, positions[static_cast<std::size_t>(t)]);
        EXPECT_EQ(numbers(rows.head(h)[t]), expected.numbers) << "head " << h << ", token " << t;
      }
    }
  }
}

TEST(llama_state_reader, reads_a_file) {
  for (std::uint32_t const version : {2U, 3U}) {
    auto const bytes = state_builder{.version = version, .tokens = {7, 8, 9}}.file();
    auto const state = llama_state::parse(bytes);
    EXPECT_EQ(state.form, llama_state::form::file);
    EXPECT_EQ(state.version, version);
    EXPECT_EQ(state.listed_tokens, 3U);
    ASSERT_THAT(state.base.streams, SizeIs(1));
    EXPECT_THAT(state.base.streams[0].layers, SizeIs(2));
    EXPECT_TRUE(state.base.streams[0].is_whole());
    EXPECT_TRUE(state.window.streams.empty());
    expect_rows(state.base.streams[0], stream_of_cells{});
  }
}

TEST(llama_state_reader, reads_a_buffer) {
  auto const bytes = state_builder{}.buffer();
  auto const state = llama_state::parse(bytes);
  EXPECT_EQ(state.form, llama_state::form::buffer);
  expect_rows(state.base.streams[0], stream_of_cells{});
}

TEST(llama_state_reader, reads_every_type_wherever_it_lies) {
  using enum tensor_type;
  std::vector const types{f32, f16, bf16, q8_0, q4_0};
  for (std::size_t i = 0; i < types.size(); ++i) {
    for (bool const transposed : {false, true}) {
      stream_of_cells const made{.cells = 3,
                                 .head_dim = 64,
                                 .value_dim = 32,
                                 .keys = types[transposed ? 4 - i : i],
                                 .values = types[transposed ? i : (i + 3) % 5],
                                 .transposed = transposed};
      if (transposed && i >= 3) continue;
      auto const bytes = state_builder{.sections = {{made}}, .tokens = {1}}.file();
      for (std::size_t const shift : {0U, 1U, 2U}) {  // no alignment is promised
        std::vector<std::byte> shifted(shift);
        shifted.insert(shifted.end(), bytes.begin(), bytes.end());
        auto const state = llama_state::parse(std::span(shifted).subspan(shift));
        EXPECT_EQ(state.base.streams[0].layers[1].values.transposed, transposed);
        expect_rows(state.base.streams[0], made);
      }
    }
  }
}

TEST(llama_state_reader, tokens_come_by_position_wherever_their_cells_are) {
  stream_of_cells const made{.cells = 5, .transposed = true, .positions = {3, 4, 0, 2, 1}};
  auto const bytes = state_builder{.sections = {{made}}}.buffer();
  auto const state = llama_state::parse(bytes);
  EXPECT_THAT(state.base.streams[0].order, ElementsAre(2, 4, 3, 0, 1));
  EXPECT_TRUE(state.base.streams[0].is_whole());
  expect_rows(state.base.streams[0], made);
}

TEST(llama_state_reader, a_sequence_lies_in_one_stream_of_several) {
  stream_of_cells const made{.sequence = 2};
  stream_of_cells const empty{.cells = 0};
  auto const bytes = state_builder{.sections = {{empty, empty, made, empty}}}.buffer();
  auto const state = llama_state::parse(bytes);
  ASSERT_THAT(state.base.streams, SizeIs(4));
  EXPECT_EQ(state.base.streams[0].tokens(), 0);
  expect_rows(state.base.streams[2], made);
}

TEST(llama_state_reader, layers_with_a_window_are_a_section_of_their_own) {
  stream_of_cells const windowed{.cells = 3, .layers = 5, .first_position = 3};
  auto const bytes = state_builder{.sections = {{stream_of_cells{}}, {windowed}}}.buffer();
  auto const state = llama_state::parse(bytes);
  expect_rows(state.base.streams[0], stream_of_cells{});
  ASSERT_THAT(state.window.streams, SizeIs(1));
  EXPECT_EQ(state.window.streams[0].first, 3);
  expect_rows(state.window.streams[0], windowed);
}

TEST(llama_state_reader, some_tokens_may_be_missing) {
  stream_of_cells const made{.cells = 3, .positions = {1, 5, 9}};
  auto const bytes = state_builder{.sections = {{made}}}.buffer();
  auto const state = llama_state::parse(bytes);
  EXPECT_EQ(state.base.streams[0].first, 1);
  EXPECT_EQ(state.base.streams[0].last, 9);
  EXPECT_FALSE(state.base.streams[0].is_whole());
}

std::string refusal_of(std::span<std::byte const> bytes) {
  try {
    llama_state::parse(bytes);
  } catch (bad_argument const& e) {
    return e.what();
  }
  return "accepted";
}

/// A good state with four of its bytes replaced.
template <class Number>
std::vector<std::byte> with(std::vector<std::byte> bytes, std::size_t at, Number number) {
  std::memcpy(bytes.data() + at, &number, sizeof number);
  return bytes;
}

TEST(llama_state_reader, every_cut_is_refused) {
  stream_of_cells const made{.cells = 3, .layers = 1, .head_dim = 2, .transposed = true};
  auto const bytes = state_builder{.sections = {{stream_of_cells{.cells = 0}, made}}, .tokens = {1, 2}}.file();
  EXPECT_EQ(refusal_of(bytes), "accepted");
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_NE(refusal_of(std::span(bytes).first(n)), "accepted") << n << " bytes of " << bytes.size();
  }
}

TEST(llama_state_reader, what_is_no_state_is_refused) {
  EXPECT_THAT(refusal_of({}), HasSubstr("ends too early"));
  EXPECT_THAT(refusal_of(byte_writer{}.chars("GGUF....").bytes()), HasSubstr("is no sequence state"));
  EXPECT_THAT(refusal_of(byte_writer{}.number(0x6767736eU).number(10U).bytes()), HasSubstr("whole context"));
  EXPECT_THAT(refusal_of(state_builder{.version = 1}.file()), HasSubstr("version of the file must be 2 or 3"));
  EXPECT_THAT(refusal_of(state_builder{.version = 4}.file()), HasSubstr("version = 4"));
}

TEST(llama_state_reader, bytes_left_over_are_refused) {
  auto bytes = state_builder{}.buffer();
  bytes.resize(bytes.size() + 3);
  EXPECT_THAT(refusal_of(bytes), HasSubstr("ends too early"));
  auto const three = state_builder{.sections = {{{}}, {{}}, {{}}}}.buffer();
  EXPECT_THAT(refusal_of(three), HasSubstr("one section or two"));
}

// Where things are in a buffer of one stream, six cells, two layers of f16 rows of 16 bytes.
constexpr std::size_t streams = 8, cells = 12, first_cell = 16, flag = first_cell + 72, layers = flag + 4,
                      key_type = layers + 4, key_row = key_type + 4, value_type = key_type + 2 * (12 + 96),
                      value_row = value_type + 4;

TEST(llama_state_reader, lengths_that_lie_are_refused) {
  auto const good = state_builder{}.buffer();
  for (std::uint32_t const wrong : {0U, 257U, 0x7fffffffU, 0xffffffffU}) {
    EXPECT_NE(refusal_of(with(good, streams, wrong)), "accepted");
    EXPECT_NE(refusal_of(with(good, cells, wrong)), "accepted");
    EXPECT_NE(refusal_of(with(good, layers, wrong)), "accepted");
  }
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  for (std::uint64_t const wrong :
       {std::uint64_t{0}, std::uint64_t{15}, std::uint64_t{18}, std::uint64_t{1} << 63, most}) {
    EXPECT_NE(refusal_of(with(good, key_row, wrong)), "accepted");
    EXPECT_NE(refusal_of(with(good, value_row, wrong)), "accepted");
  }
  auto const file = state_builder{.tokens = {1, 2}}.file();
  EXPECT_THAT(refusal_of(with(file, 8, 0xffffffffU)), HasSubstr("ends too early"));
  EXPECT_NE(refusal_of(with(file, 8, 1U)), "accepted");
}

TEST(llama_state_reader, numbers_out_of_range_are_refused) {
  auto const good = state_builder{}.buffer();
  EXPECT_THAT(refusal_of(with(good, flag, 2U)), HasSubstr("0 or 1"));
  EXPECT_THAT(refusal_of(with(good, key_type, 4)), HasSubstr("unknown type of rows"));
  EXPECT_THAT(refusal_of(with(good, value_type, -1)), HasSubstr("unknown type of rows"));
  EXPECT_THAT(refusal_of(with(good, first_cell, -1)), HasSubstr("must not be negative"));
  EXPECT_THAT(refusal_of(with(good, first_cell, 3)), HasSubstr("each position may be there once"));
  EXPECT_THAT(refusal_of(with(good, first_cell + 4, 2U)), HasSubstr("of one sequence"));
  EXPECT_THAT(refusal_of(with(good, first_cell + 12 * 3 + 4, 0U)), HasSubstr("of one sequence"));
  EXPECT_THAT(refusal_of(with(good, first_cell + 12 * 3 + 8, 1)), HasSubstr("of one sequence"));
}

TEST(llama_state_reader, transposed_values_must_be_plain_numbers) {
  auto const good = state_builder{.sections = {{{.transposed = true}}}}.buffer();
  EXPECT_EQ(refusal_of(good), "accepted");
  EXPECT_THAT(refusal_of(with(good, value_type, tensor_type::q8_0)), HasSubstr("plain numbers"));
  EXPECT_THAT(refusal_of(with(good, value_type, tensor_type::f32)), HasSubstr("plain numbers"));
  EXPECT_THAT(refusal_of(with(good, value_row, 4U)), HasSubstr("plain numbers"));
  EXPECT_THAT(refusal_of(with(good, value_row + 4, 0U)), HasSubstr("plain numbers"));
  EXPECT_THAT(refusal_of(with(good, value_row + 4, 0xffffffffU)), HasSubstr("ends too early"));
}

TEST(llama_state_reader, keys_without_values_are_refused_by_name) {
  auto bytes = state_builder{}.buffer();
  bytes.resize(value_type);
  EXPECT_THAT(refusal_of(bytes), HasSubstr("MLA"));
  // With an indexer's section behind it.
  auto const keys_alone = byte_writer{}.raw(std::span(bytes).subspan(streams)).bytes();
  bytes.insert(bytes.end(), keys_alone.begin(), keys_alone.end());
  EXPECT_THAT(refusal_of(bytes), HasSubstr("MLA"));
}

TEST(llama_state_reader, recurrent_memories_are_refused_by_name) {
  byte_writer recurrent;  // one cell at position 41 that names no sequence, 2 layers of 64 floats
  recurrent.number(1U).number(41).number(0U).number(0U).number(2U);
  for (int row = 0; row < 4; ++row) recurrent.number(0).number(std::uint64_t{256}).raw(std::vector<std::byte>(256));
  auto const alone = byte_writer{}.number(0xaf143cd8U).number(0).raw(recurrent.bytes());
  EXPECT_THAT(refusal_of(alone.bytes()), HasSubstr("recurrent"));
  for (auto const& sections : {std::vector<std::vector<stream_of_cells>>{{{}}}, {{{}}, {{}}}}) {
    auto const hybrid = byte_writer{}.raw(state_builder{.sections = sections}.buffer()).raw(recurrent.bytes());
    EXPECT_THAT(refusal_of(hybrid.bytes()), HasSubstr("recurrent"));
  }
  EXPECT_THAT(refusal_of(byte_writer{}.number(0xaf143cd8U).number(0).chars("DSV4").number(1U).bytes()),
              HasSubstr("DeepSeek V4"));
}

TEST(llama_state_reader, cells_with_more_to_them_are_refused_by_name) {
  for (int const more : {2, 3}) {  // x and y, and in newer versions a token
    byte_writer out;
    out.number(0xaf143cd8U).number(0).number(1U).number(5U);
    for (int c = 0; c < 5; ++c) {
      out.number(c).number(1U);
      for (int i = 0; i < more; ++i) out.number(0);
      out.number(0);
    }
    EXPECT_THAT(refusal_of(out.raw(std::vector<std::byte>(200)).bytes()), HasSubstr("M-RoPE"));
  }
}

TEST(llama_state_reader, says_whether_bytes_look_like_one) {
  EXPECT_TRUE(llama_state::is_state(state_builder{}.buffer()));
  EXPECT_TRUE(llama_state::is_state(state_builder{}.file()));
  EXPECT_FALSE(llama_state::is_state(byte_writer{}.chars("GGUF").bytes()));
  EXPECT_FALSE(llama_state::is_state({}));
}

}  // namespace llama_state_reader_test
