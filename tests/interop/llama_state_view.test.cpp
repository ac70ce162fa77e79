// SPDX-License-Identifier: Apache-2.0
#include <tightkv/interop/llama_state_view.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <interop/state_builder.hpp>
#include <tightkv/interop/llama_state_reader.hpp>
#include <tightkv/methods/compress.hpp>
#include <tightkv/methods/key_diff.hpp>
#include <tightkv/methods/lag_kv.hpp>
#include <tightkv/view/layouts.hpp>

namespace llama_state_view_test {

using namespace tightkv;
using llama_state::rotation;
using test::state_builder;
using test::stream_of_cells;
using test::tensor_type;
using ::testing::HasSubstr;

std::vector<std::byte> state_of(stream_of_cells const& made) { return state_builder{.sections = {{made}}}.buffer(); }

std::vector<float> numbers(llama_state::decoded_row const& row) {
  std::vector<float> result;
  for (int d = 0; d < row.size; ++d) result.push_back(row[d]);
  return result;
}

/// The view's rows are `expected(layer, of_values, head, token)`, to the rounding of a sum over a row.
template <class Expected>
void expect_rows_near(llama_state::stream const& read, stream_of_cells const& made, rotation r, Expected&& expected) {
  for (bool const of_values : {false, true}) {
    auto const rows = of_values ? values_of(read, made.kv_heads, r) : keys_of(read, made.kv_heads, r);
    for (int h = 0; h < rows.heads(); ++h) {
      for (int t = 0; t < made.cells; ++t) {
        EXPECT_THAT(numbers(rows.head(h)[t]),
                    ::testing::Pointwise(::testing::FloatNear(2e-5F),
                                         expected(h / made.kv_heads, of_values, h % made.kv_heads, t)));
      }
    }
  }
}

TEST(llama_state_view, rotated_rows_are_turned_back) {
  // 128: keys rotated as one block and values in two; 192: in blocks of 64 both.
  for (int const head_dim : {64, 128, 192}) {
    stream_of_cells const made{
        .cells = 3, .head_dim = head_dim, .keys = tensor_type::q8_0, .values = tensor_type::q4_0, .rotated = true};
    auto const bytes = state_of(made);
    auto const state = llama_state::parse(bytes);
    expect_rows_near(state.base.streams[0], made, rotation::stock, [&](int l, bool of_values, int h, int t) {
      auto const stored = made.stored(l, of_values, h, t).numbers;
      return stream_of_cells::hadamard(stored, head_dim == 128 && !of_values ? 128 : 64);
    });
    expect_rows_near(state.base.streams[0], made, rotation::none,
                     [&](int l, bool of_values, int h, int t) { return made.stored(l, of_values, h, t).numbers; });
  }
}

TEST(llama_state_view, turned_back_rows_are_what_the_model_made) {
  stream_of_cells const made{
      .cells = 2, .head_dim = 128, .keys = tensor_type::q8_0, .values = tensor_type::q8_0, .rotated = true};
  auto const bytes = state_of(made);
  auto const state = llama_state::parse(bytes);
  auto const rows = keys_of(state.base.streams[0], made.kv_heads);
  EXPECT_THAT(numbers(rows.head(1)[1]), ::testing::Pointwise(::testing::FloatNear(0.05F), made.made(0, false, 1, 1)));
}

TEST(llama_state_view, only_quantised_rows_of_whole_blocks_of_64_are_rotated) {
  for (stream_of_cells const& made :
       {stream_of_cells{.head_dim = 64}, stream_of_cells{.head_dim = 96, .keys = tensor_type::q8_0}}) {
    auto const bytes = state_of(made);
    auto const state = llama_state::parse(bytes);
    expect_rows_near(state.base.streams[0], made, rotation::stock,
                     [&](int l, bool of_values, int h, int t) { return made.stored(l, of_values, h, t).numbers; });
  }
}

TEST(llama_state_view, methods_decide_as_on_a_plain_cache) {
  stream_of_cells const made{.cells = 64, .layers = 2, .kv_heads = 3, .head_dim = 16, .transposed = true};
  auto const bytes = state_of(made);
  auto const state = llama_state::parse(bytes);
  kv_view const view{keys_of(state.base.streams[0], 3), values_of(state.base.streams[0], 3)};

  std::vector<float> keys, values;
  for (int h = 0; h < 6; ++h) {
    for (int t = 0; t < made.cells; ++t) {
      for (float const x : made.stored(h / 3, false, h % 3, t).numbers) keys.push_back(x);
      for (float const x : made.stored(h / 3, true, h % 3, t).numbers) values.push_back(x);
    }
  }
  kv_shape const shape{.heads = 6, .tokens = made.cells, .head_dim = 16};
  kv_view const plain{hnd(keys.data(), shape), hnd(values.data(), shape)};

  key_diff const by_key{.budget = keep_ratio{0.25}, .sink = 2};
  EXPECT_EQ(decide(cpu{}, by_key, view).plan, decide(cpu{}, by_key, plain).plan);
  EXPECT_TRUE(decide(cpu{}, by_key, view).plan.evicts());
  lag_kv const by_lag{.keep = {0.25}, .lag = 16, .sink = 4};
  EXPECT_EQ(decide(cpu{}, by_lag, view).plan, decide(cpu{}, by_lag, plain).plan);
  EXPECT_TRUE(decide(cpu{}, by_lag, view).plan.evicts());
}

TEST(llama_state_view, rows_that_are_plain_numbers_are_planes_of_them) {
  stream_of_cells const made{.values = tensor_type::f32, .transposed = true};
  auto const bytes = state_of(made);
  auto const state = llama_state::parse(bytes);
  auto const& stream = state.base.streams[0];
  auto const keys = llama_state::planes_of<half>(stream, &llama_state::layer::keys, 2);
  ASSERT_EQ(keys.size(), 2U);
  auto const row = keys[1].head(1)[3];
  for (int d = 0; d < 4; ++d) {
    EXPECT_EQ(static_cast<float>(row[d]), made.stored(1, false, 1, 3).numbers[static_cast<std::size_t>(d)]);
  }
  EXPECT_TRUE(llama_state::planes_of<bfloat16>(stream, &llama_state::layer::keys, 2).empty());
  EXPECT_TRUE(llama_state::planes_of<float>(stream, &llama_state::layer::values, 2).empty());  // transposed

  std::vector<std::byte> shifted(1);
  shifted.insert(shifted.end(), bytes.begin(), bytes.end());
  auto const odd = llama_state::parse(std::span(shifted).subspan(1));
  EXPECT_TRUE(llama_state::planes_of<half>(odd.base.streams[0], &llama_state::layer::keys, 2).empty());

  auto const mixed = state_of({.cells = 3, .positions = {1, 0, 2}});
  EXPECT_TRUE(
      llama_state::planes_of<half>(llama_state::parse(mixed).base.streams[0], &llama_state::layer::keys, 2).empty());
}

TEST(llama_state_view, one_layer_can_be_looked_at_alone) {
  stream_of_cells const made{};
  auto const bytes = state_of(made);
  auto const state = llama_state::parse(bytes);
  auto const& stream = state.base.streams[0];
  llama_state::decoded_rows const second{stream, std::span(stream.layers).subspan(1, 1), &llama_state::layer::values, 2,
                                         rotation::stock};
  EXPECT_EQ(second.heads(), 2);
  EXPECT_EQ(numbers(second.head(1)[3]), made.stored(1, true, 1, 3).numbers);
}

TEST(llama_state_view, a_budget_in_bytes_counts_what_is_stored) {
  stream_of_cells const made{.head_dim = 64, .keys = tensor_type::q8_0, .values = tensor_type::q4_0};
  auto const bytes = state_of(made);
  auto const state = llama_state::parse(bytes);
  EXPECT_EQ(row_bytes(keys_of(state.base.streams[0], 2)), 68);
  EXPECT_EQ(row_bytes(values_of(state.base.streams[0], 2)), 36);
}

std::string refusal_of(stream_of_cells const& made, int kv_heads) {
  auto const bytes = state_of(made);
  auto const state = llama_state::parse(bytes);
  try {
    keys_of(state.base.streams[0], kv_heads);
  } catch (bad_argument const& e) {
    return e.what();
  }
  return "accepted";
}

TEST(llama_state_view, heads_that_do_not_fit_are_refused) {
  EXPECT_THAT(refusal_of({}, 0), HasSubstr("at least 1"));
  EXPECT_THAT(refusal_of({}, 3), HasSubstr("a row must divide into the KV heads"));
  EXPECT_THAT(refusal_of({.head_dim = 1025}, 2), HasSubstr("at most 1024"));
  EXPECT_THAT(refusal_of({.head_dim = 64, .keys = tensor_type::q8_0}, 8), HasSubstr("whole blocks"));
}

TEST(llama_state_view, what_it_cannot_read_is_refused) {
  stream_of_cells const made{};
  auto const bytes = state_of(made);
  auto state = llama_state::parse(bytes);
  auto& layers = state.base.streams[0].layers;
  layers[1].keys.type = tensor_type::q5_0;
  EXPECT_THROW(keys_of(state.base.streams[0], 2), bad_argument);
  layers[1].keys = layers[0].keys;
  layers[1].keys.width = 4;
  EXPECT_THROW(keys_of(state.base.streams[0], 2), bad_argument);
}

}  // namespace llama_state_view_test
