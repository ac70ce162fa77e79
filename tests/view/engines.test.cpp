// SPDX-License-Identifier: Apache-2.0
/// The caches of SGLang, TurboMind, CTranslate2, ONNX Runtime GenAI, MLX and Hugging Face.
#include <cstddef>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include <support/places.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/view/batch.hpp>
#include <tightkv/view/layouts.hpp>

namespace engines_test {

using namespace tests;
using tightkv::half;

constexpr int batch_size = 2;
constexpr int heads = 3;
constexpr int head_dim = 64;

TEST(sglang, rows_of_req_to_token_are_cells) {  // [slots + page][H][D], slot 0 is a dummy
  constexpr int slots = 20, longest = 6, tokens = 5, value_dim = 48;
  std::vector<std::int32_t> const req_to_token{1, 2, 3, 0, 0, 0, /**/ 19, 4, 20, 7, 8, 0};
  auto const* const row = req_to_token.data() + longest;  // request 1
  std::vector<half> keys((slots + 1) * heads * head_dim);
  std::vector<half> values((slots + 1) * heads * value_dim);
  expect_places(tightkv::cells(keys.data(), {heads, tokens, head_dim}, row, slots + 1), keys.data(),
                [&](int h, int t, int d) { return (row[t] * heads + h) * head_dim + d; });
  expect_places(tightkv::cells(values.data(), {heads, tokens, value_dim}, row, slots + 1), values.data(),
                [&](int h, int t, int d) { return (row[t] * heads + h) * value_dim + d; });

  std::vector<std::byte> fp8((slots + 1) * heads * head_dim);  // stored as uint8
  auto const codes = tightkv::cells(fp8.data(), {heads, tokens, head_dim}, row, slots + 1);
  codes.head(2)[4][63] = std::byte{9};
  tightkv::compact(tightkv::cpu{}, tightkv::plan::of({5, 5, 5}, {{4}, {4}, {4}}), codes);
  EXPECT_EQ(fp8[(19 * heads + 2) * head_dim + 63], std::byte{9});
}

/// Inside a block, per layer: for each head the keys `[BS][D]`, then the values; behind all heads, for each head the
/// parameters `[BS][2]` of its keys, then of its values.
TEST(turbomind, blocks_are_found_by_address) {
  constexpr int block_size = 4, tokens = 10, layers = 2, layer = 1;
  constexpr int per_layer = heads * 2 * block_size * head_dim;
  std::vector<half> block[3];
  for (auto& b : block) b.resize(layers * per_layer);
  void* const pages[] = {block[2].data(), block[0].data(), block[1].data()};
  for (int const which : {0, 1}) {
    tightkv::page_pointers const where{.heads = heads,
                                       .tokens = tokens,
                                       .pages = pages,
                                       .offset = (layer * per_layer + which * block_size * head_dim) * 2,
                                       .page_size = block_size,
                                       .head_stride = 2 * block_size * head_dim * 2,
                                       .token_stride = head_dim * 2};
    auto const plane = tightkv::plane(static_cast<half*>(nullptr), where, head_dim);
    for (int h = 0; h < heads; ++h) {
      for (int t = 0; t < tokens; ++t) {
        auto const* const page = static_cast<half const*>(pages[t / block_size]);
        std::ptrdiff_t const at = layer * per_layer + ((h * 2 + which) * block_size + t % block_size) * head_dim;
        for (int d = 0; d < head_dim; ++d) ASSERT_EQ(&plane.head(h)[t][d], page + at + d);
      }
    }
  }
}

TEST(turbomind, int8_rows_are_opaque_and_their_parameters_planes) {
  constexpr int block_size = 4, tokens = 7;
  constexpr int codes_bytes = heads * 2 * block_size * head_dim;
  constexpr int block_bytes = codes_bytes + heads * 2 * block_size * 2 * 2;
  alignas(8) static std::byte block[2][block_bytes];
  void* const pages[] = {block[1], block[0]};
  tightkv::page_pointers where{.heads = heads,
                               .tokens = tokens,
                               .pages = pages,
                               .offset = block_size * head_dim,  // values
                               .page_size = block_size,
                               .head_stride = 2 * block_size * head_dim,
                               .token_stride = head_dim};
  auto const codes = tightkv::plane(static_cast<std::byte*>(nullptr), where, head_dim);
  where.offset = codes_bytes + block_size * 4;
  where.head_stride = 2 * block_size * 4;
  where.token_stride = 4;
  auto const parameters = tightkv::plane(static_cast<half*>(nullptr), where, 2);  // (scale, zero)
  codes.head(2)[6][63] = std::byte{5};
  parameters.head(2)[6][1] = half(3.0F);
  tightkv::compact(tightkv::cpu{}, tightkv::plan::of({7, 7, 7}, {{6}, {6}, {6}}), codes, parameters);
  EXPECT_EQ(block[1][(2 * 2 + 1) * block_size * head_dim + 63], std::byte{5});
  auto const* const moved = reinterpret_cast<half const*>(&block[1][codes_bytes + (2 * 2 + 1) * block_size * 4]);
  EXPECT_EQ(moved[1].bits, half(3.0F).bits);
}

TEST(ctranslate2, is_contiguous_and_a_batch_is_more_heads) {  // [B][H][T][D]
  constexpr int tokens = 5;
  std::vector<float> memory(batch_size * heads * tokens * head_dim);
  expect_places(tightkv::hnd(memory.data(), {batch_size * heads, tokens, head_dim}), memory.data(),
                [](int h, int t, int d) { return (h * tokens + t) * head_dim + d; });
  expect_places(tightkv::hnd(memory.data(), {batch_size, tokens, head_dim}), memory.data(),  // MQA: [B][T][D]
                [](int b, int t, int d) { return (b * tokens + t) * head_dim + d; });
}

TEST(ctranslate2, flash_attention_layer_is_token_major_with_room_to_grow) {  // [B][T][H][D]
  constexpr int tokens = 5, room = 8;
  std::vector<half> memory(batch_size * room * heads * head_dim);
  std::vector<decltype(tightkv::nhd(memory.data(), {}))> sequences;
  for (int b = 0; b < batch_size; ++b) {
    sequences.push_back(tightkv::nhd(memory.data() + b * room * heads * head_dim,
                                     {.heads = heads, .tokens = tokens, .head_dim = head_dim, .capacity = room}));
  }
  expect_places(tightkv::batch(sequences), memory.data(),
                [](int h, int t, int d) { return ((h / heads * room + t) * heads + h % heads) * head_dim + d; });
}

TEST(onnx_runtime_genai, shares_a_buffer_of_the_greatest_length) {  // [B][H][T][D], or [2][B][H][T][D]
  constexpr int tokens = 5, longest = 9;
  constexpr int one = batch_size * heads * longest * head_dim;
  std::vector<half> memory(2 * one);
  for (int const which : {0, 1}) {
    auto const plane =
        tightkv::hnd(memory.data() + which * one,
                     {.heads = batch_size * heads, .tokens = tokens, .head_dim = head_dim, .capacity = longest});
    expect_places(plane, memory.data(),
                  [&](int h, int t, int d) { return which * one + (h * longest + t) * head_dim + d; });
  }
}

TEST(onnx_runtime_genai, packed_rows_are_opaque) {  // a float scale and words of codes per head
  constexpr int tokens = 5, row = 4 + head_dim / 2;
  std::vector<std::byte> memory(heads * tokens * row);
  auto const plane = tightkv::hnd(memory.data(), {heads, tokens, row});
  plane.head(1)[4][row - 1] = std::byte{7};
  tightkv::compact(tightkv::cpu{}, tightkv::plan::of({5, 5, 5}, {{0, 4}, {0, 4}, {0, 4}}), plane);
  EXPECT_EQ(memory[(1 * tokens + 1) * row + row - 1], std::byte{7});
}

TEST(mlx, has_room_that_grows_by_256) {  // [B][H][Talloc][D]
  constexpr int tokens = 3;
  std::vector<half> memory(batch_size * heads * 256 * head_dim);
  auto const plane = tightkv::hnd(
      memory.data(), {.heads = batch_size * heads, .tokens = tokens, .head_dim = head_dim, .capacity = 256});
  expect_places(plane, memory.data(), [](int h, int t, int d) { return (h * 256 + t) * head_dim + d; });
}

TEST(mlx, quantised_caches_are_three_planes_under_one_plan) {  // (u32 packed, scales, biases), groups of 64
  constexpr int tokens = 4;
  std::vector<std::uint32_t> packed(heads * tokens * (head_dim / 8));  // 4 bits
  std::vector<half> scales(heads * tokens * (head_dim / 64));
  std::vector<half> biases(scales.size());
  for (std::size_t i = 0; i < packed.size(); ++i) packed[i] = static_cast<std::uint32_t>(i);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    scales[i] = half(static_cast<float>(i));
    biases[i] = half(-static_cast<float>(i));
  }
  auto* const bytes = reinterpret_cast<std::byte*>(packed.data());
  tightkv::compact(tightkv::cpu{}, tightkv::plan::of({4, 4, 4}, {{1, 3}, {0, 2}, {2, 3}}),
                   tightkv::hnd(bytes, {heads, tokens, head_dim / 2}),
                   tightkv::hnd(scales.data(), {heads, tokens, head_dim / 64}),
                   tightkv::hnd(biases.data(), {heads, tokens, head_dim / 64}));
  EXPECT_EQ(packed[0 * 32 + 1 * 8 + 5], 0 * 32 + 3 * 8 + 5U);
  EXPECT_EQ(packed[2 * 32 + 0 * 8 + 7], 2 * 32 + 2 * 8 + 7U);
  EXPECT_EQ(static_cast<float>(scales[1 * 4 + 1]), 1 * 4 + 2);
  EXPECT_EQ(static_cast<float>(biases[2 * 4 + 0]), -(2 * 4 + 2));
}

TEST(hugging_face, is_a_list_of_layers_seen_as_one) {  // DynamicCache: [B][H][T][D] per layer
  constexpr int tokens = 5, layers = 3;
  constexpr int one = batch_size * heads * tokens * head_dim;
  std::vector<tightkv::bfloat16> memory(layers * one);  // in one piece here, only to have one formula
  std::vector<decltype(tightkv::hnd(memory.data(), {}))> planes;
  for (int l = 0; l < layers; ++l) {
    planes.push_back(tightkv::hnd(memory.data() + l * one, {batch_size * heads, tokens, head_dim}));
  }
  expect_places(tightkv::batch(planes), memory.data(),
                [](int h, int t, int d) { return (h * tokens + t) * head_dim + d; });
}

}  // namespace engines_test
