// SPDX-License-Identifier: Apache-2.0
#include <tightkv/interop/llama_state.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <interop/state_builder.hpp>

namespace {

using namespace tightkv;
using test::state_builder;
using test::stream_of_cells;
using test::tensor_type;
using ::testing::ElementsAre;
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

TEST(llama_state, reads_a_file) {
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

TEST(llama_state, reads_a_buffer) {
  auto const bytes = state_builder{}.buffer();
  auto const state = llama_state::parse(bytes);
  EXPECT_EQ(state.form, llama_state::form::buffer);
  expect_rows(state.base.streams[0], stream_of_cells{});
}

TEST(llama_state, reads_every_type_wherever_it_lies) {
  using enum tensor_type;
  for (auto const keys : {f32, f16, bf16, q8_0, q4_0}) {
    for (auto const values : {f32, f16, bf16, q8_0, q4_0}) {
      bool const plain = values == f32 || values == f16 || values == bf16;
      for (int transposed = 0; transposed <= (plain ? 1 : 0); ++transposed) {
        stream_of_cells const made{
            .head_dim = 64, .value_dim = 32, .keys = keys, .values = values, .transposed = transposed == 1};
        auto const bytes = state_builder{.sections = {{made}}, .tokens = {1}}.file();
        for (std::size_t const shift : {0U, 1U, 2U}) {  // no alignment is promised
          std::vector<std::byte> shifted(shift);
          shifted.insert(shifted.end(), bytes.begin(), bytes.end());
          auto const state = llama_state::parse(std::span(shifted).subspan(shift));
          EXPECT_EQ(state.base.streams[0].layers[1].values.transposed, transposed == 1);
          expect_rows(state.base.streams[0], made);
        }
      }
    }
  }
}

TEST(llama_state, tokens_come_by_position_wherever_their_cells_are) {
  stream_of_cells const made{.cells = 5, .transposed = true, .positions = {3, 4, 0, 2, 1}};
  auto const bytes = state_builder{.sections = {{made}}}.buffer();
  auto const state = llama_state::parse(bytes);
  EXPECT_THAT(state.base.streams[0].order, ElementsAre(2, 4, 3, 0, 1));
  EXPECT_TRUE(state.base.streams[0].is_whole());
  expect_rows(state.base.streams[0], made);
}

TEST(llama_state, a_sequence_lies_in_one_stream_of_several) {
  stream_of_cells const made{.sequence = 2};
  stream_of_cells const empty{.cells = 0};
  auto const bytes = state_builder{.sections = {{empty, empty, made, empty}}}.buffer();
  auto const state = llama_state::parse(bytes);
  ASSERT_THAT(state.base.streams, SizeIs(4));
  EXPECT_EQ(state.base.streams[0].tokens(), 0);
  expect_rows(state.base.streams[2], made);
}

TEST(llama_state, layers_with_a_window_are_a_section_of_their_own) {
  stream_of_cells const windowed{.cells = 3, .layers = 5, .first_position = 3};
  auto const bytes = state_builder{.sections = {{stream_of_cells{}}, {windowed}}}.buffer();
  auto const state = llama_state::parse(bytes);
  expect_rows(state.base.streams[0], stream_of_cells{});
  ASSERT_THAT(state.window.streams, SizeIs(1));
  EXPECT_EQ(state.window.streams[0].first, 3);
  expect_rows(state.window.streams[0], windowed);
}

TEST(llama_state, some_tokens_may_be_missing) {
  stream_of_cells const made{.cells = 3, .positions = {1, 5, 9}};
  auto const bytes = state_builder{.sections = {{made}}}.buffer();
  auto const state = llama_state::parse(bytes);
  EXPECT_EQ(state.base.streams[0].first, 1);
  EXPECT_EQ(state.base.streams[0].last, 9);
  EXPECT_FALSE(state.base.streams[0].is_whole());
}

}  // namespace
