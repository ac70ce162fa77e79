// SPDX-License-Identifier: Apache-2.0
/// vLLM's caches, of all generations, and those of engines that took over its blocks.
#include <cstddef>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include <support/places.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/view/layouts.hpp>

namespace vllm_test {

using namespace tests;
using tightkv::half;

constexpr int blocks = 9;
constexpr int block_size = 4;
constexpr int heads = 3;
constexpr int head_dim = 80;
constexpr int tokens = 14;
std::vector<std::int32_t> const table{7, 0, 8, 3};
tightkv::kv_shape const shape{heads, tokens, head_dim};
auto const block_table = tightkv::block_table{table.data(), blocks, block_size};
constexpr std::ptrdiff_t one = blocks * block_size * heads * head_dim;  // elements of keys, or of values

std::ptrdiff_t block(int t) { return table[static_cast<std::size_t>(t / block_size)]; }
int slot(int t) { return t % block_size; }

/// A layout of blocks whose strides are given in elements of `bytes` bytes.
tightkv::paged strides(std::ptrdiff_t page, std::ptrdiff_t head, std::ptrdiff_t token, std::ptrdiff_t bytes) {
  return {.heads = heads,
          .tokens = tokens,
          .block_table = table.data(),
          .pages = blocks,
          .page_size = block_size,
          .page_stride = page * bytes,
          .head_stride = head * bytes,
          .token_stride = token * bytes};
}

TEST(vllm_v0, keys_come_in_groups_of_16_bytes) {  // [NB][H][D/x][BS][x]
  constexpr int x = 16 / sizeof(half);
  std::vector<half> memory(one);
  auto const plane = tightkv::plane(memory.data(), strides(heads * head_dim * block_size, head_dim * block_size, x, 2),
                                    head_dim, tightkv::grouped{.size = x, .stride = block_size * 16});
  expect_places(plane, memory.data(), [](int h, int t, int d) {
    return (((block(t) * heads + h) * (head_dim / x) + d / x) * block_size + slot(t)) * x + d % x;
  });
}

TEST(vllm_v0, values_are_transposed_within_the_block) {  // [NB][H][D][BS]
  std::vector<half> memory(one);
  auto const plane = tightkv::plane(memory.data(), strides(heads * head_dim * block_size, head_dim * block_size, 1, 2),
                                    head_dim, tightkv::grouped{.size = 1, .stride = block_size * 2});
  expect_places(plane, memory.data(),
                [](int h, int t, int d) { return ((block(t) * heads + h) * head_dim + d) * block_size + slot(t); });
}

TEST(vllm_kv_first, nhd_and_hnd) {  // [2][NB][BS][H][D] or [2][NB][H][BS][D]
  std::vector<half> memory(2 * one);
  for (int const which : {0, 1}) {
    auto* const base = memory.data() + which * one;
    expect_places(tightkv::paged_nhd(base, shape, block_table), memory.data(), [&](int h, int t, int d) {
      return (((which * blocks + block(t)) * block_size + slot(t)) * heads + h) * head_dim + d;
    });
    expect_places(tightkv::paged_hnd(base, shape, block_table), memory.data(), [&](int h, int t, int d) {
      return (((which * blocks + block(t)) * heads + h) * block_size + slot(t)) * head_dim + d;
    });
  }
}

TEST(vllm_blocks_first, has_values_after_the_keys_of_each_block) {  // [NB][2][BS][H][D]
  std::vector<half> memory(2 * one);
  for (int const which : {0, 1}) {
    auto const plane =
        tightkv::plane(memory.data() + which * block_size * heads * head_dim,
                       strides(2 * block_size * heads * head_dim, head_dim, heads * head_dim, 2), head_dim);
    expect_places(plane, memory.data(), [&](int h, int t, int d) {
      return (((block(t) * 2 + which) * block_size + slot(t)) * heads + h) * head_dim + d;
    });
  }
}

TEST(vllm_packed, has_values_behind_the_keys_of_each_row) {  // [NB][H][BS][2*D], or permuted to [NB][BS][H][2*D]
  std::vector<half> memory(2 * one);
  for (int const which : {0, 1}) {
    auto* const base = memory.data() + which * head_dim;
    constexpr int row = 2 * head_dim;
    expect_places(tightkv::plane(base, strides(heads * block_size * row, block_size * row, row, 2), head_dim),
                  memory.data(), [&](int h, int t, int d) {
                    return ((block(t) * heads + h) * block_size + slot(t)) * row + which * head_dim + d;
                  });
    expect_places(tightkv::plane(base, strides(heads * block_size * row, row, heads * row, 2), head_dim), memory.data(),
                  [&](int h, int t, int d) {
                    return ((block(t) * block_size + slot(t)) * heads + h) * row + which * head_dim + d;
                  });
  }
}

TEST(vllm_packed, quantised_rows_are_opaque_and_their_scales_a_plane_of_their_own) {
  // int8 rows, K then V, and behind them in the block a float per token and head for each of the two.
  constexpr int row = 2 * head_dim;
  constexpr int data = heads * block_size * row;
  constexpr int page = data + heads * block_size * 2 * 4;
  alignas(4) static std::byte memory[blocks * page];
  for (std::size_t i = 0; i < sizeof memory; ++i) memory[i] = static_cast<std::byte>(i % 253);
  auto const rows = tightkv::plane(memory, strides(page, block_size * row, row, 1), row);
  auto* const floats = reinterpret_cast<float*>(memory + data);
  auto const scales = tightkv::plane(floats, strides(page, block_size * 8, 8, 1), 2);
  expect_places(rows, memory,
                [](int h, int t, int d) { return block(t) * page + (h * block_size + slot(t)) * row + d; });
  expect_places(scales, floats,
                [](int h, int t, int d) { return block(t) * (page / 4) + (h * block_size + slot(t)) * 2 + d; });
  auto const codes = [&](int h, int t) {
    return std::vector<std::byte>(&rows.head(h)[t][0], &rows.head(h)[t][0] + row);
  };
  auto const scale = [&](int h, int t) { return std::vector<float>{scales.head(h)[t][0], scales.head(h)[t][1]}; };
  for (int h = 0; h < heads; ++h) {
    for (int t = 0; t < tokens; ++t) scales.head(h)[t][0] = scales.head(h)[t][1] = static_cast<float>(100 * h + t);
  }
  auto const kept_codes = codes(2, 13);
  auto const kept_scale = scale(2, 13);
  tightkv::compact(tightkv::cpu{}, tightkv::plan::of({14, 14, 14}, {{1, 2}, {3, 4}, {5, 13}}), rows, scales);
  EXPECT_EQ(codes(2, 1), kept_codes);
  EXPECT_EQ(scale(2, 1), kept_scale);
}

TEST(vllm_mla, is_one_head_of_keys) {  // [NB][BS][576]
  std::vector<half> memory(blocks * block_size * 576);
  expect_places(tightkv::paged_nhd(memory.data(), {1, tokens, 576}, block_table), memory.data(),
                [](int, int t, int d) { return (block(t) * block_size + slot(t)) * 576 + d; });
}

/// Rows that cannot be decoded: fp8_ds_mla has 656 bytes a token; nvfp4 D / 2 of data and D / 16 of scales; a
/// TurboQuant slot has what it has.
TEST(vllm_opaque, rows_are_compacted_as_bytes) {
  for (int const bytes : {656, head_dim / 2 + head_dim / 16, 37}) {
    std::vector<std::byte> memory(static_cast<std::size_t>(blocks * block_size * bytes));
    auto const rows = tightkv::paged_nhd(memory.data(), {1, tokens, bytes}, block_table);
    for (int t = 0; t < tokens; ++t) {
      for (int i = 0; i < bytes; ++i) rows.head(0)[t][i] = static_cast<std::byte>(t * 16 + i % 16);
    }
    tightkv::compact(tightkv::cpu{}, tightkv::plan::of({14}, {{0, 5, 6, 9, 13}}), rows);
    for (int i = 0; i < bytes; ++i) {
      EXPECT_EQ(rows.head(0)[3][i], static_cast<std::byte>(9 * 16 + i % 16));
      EXPECT_EQ(rows.head(0)[4][i], static_cast<std::byte>(13 * 16 + i % 16));
    }
  }
}

TEST(vllm_kvcompress, has_a_block_table_per_head) {  // [NB][BS][D], blocks belong to heads
  std::vector<std::int32_t> const tables{4, 5, 0, 8, /**/ 1, 2, 3, 6, /**/ 7, 0, 0, 0};
  std::vector<int> const lengths{14, 9, 3};
  std::vector<half> memory(blocks * block_size * head_dim);
  auto where = strides(block_size * head_dim, 0, head_dim, 2);
  where.block_table = tables.data();
  where.table_stride = 4;
  auto const plane = tightkv::plane(memory.data(), where, head_dim).with_lengths(lengths.data());
  EXPECT_EQ(plane.tokens(2), 3);
  expect_places(plane, memory.data(), [&](int h, int t, int d) {
    std::ptrdiff_t const page = tables[static_cast<std::size_t>(h * 4 + t / block_size)];
    return (page * block_size + slot(t)) * head_dim + d;
  });
}

TEST(flash_infer, has_its_page_indices_in_csr_form) {
  // indices[indptr[r] .. indptr[r + 1]) are request r's pages, the last of which holds last_page_len tokens.
  std::vector<std::int32_t> const indices{2, 5, /**/ 7, 0, 8, 3};
  std::vector<std::int32_t> const indptr{0, 2, 6};
  std::vector<std::int32_t> const last_page_len{4, 2};
  std::vector<half> keys(one);
  std::vector<half> values(blocks * block_size * heads * 64);  // a pointer, strides and a head_dim of their own
  std::size_t const r = 1;
  int const length = (indptr[r + 1] - indptr[r] - 1) * block_size + last_page_len[r];
  ASSERT_EQ(length, tokens);
  auto const pages = tightkv::block_table{indices.data() + indptr[r], blocks, block_size};
  expect_places(tightkv::paged_nhd(keys.data(), {heads, length, head_dim}, pages), keys.data(),
                [](int h, int t, int d) { return ((block(t) * block_size + slot(t)) * heads + h) * head_dim + d; });
  expect_places(tightkv::paged_hnd(values.data(), {heads, length, 64}, pages), values.data(),
                [](int h, int t, int d) { return ((block(t) * heads + h) * block_size + slot(t)) * 64 + d; });
}

TEST(tensorrt_llm, has_rows_of_a_table_for_keys_and_for_values) {
  // offsets [B][beam][2][M], blocks [H][BS][D] of one pool.
  constexpr int batch = 2, beams = 1, most = 4;
  std::vector<std::int32_t> const offsets{0, 1, 0, 0, /**/ 2, 3, 0, 0, /**/ 7, 0, 8, 3, /**/ 1, 2, 4, 5};
  ASSERT_EQ(offsets.size(), static_cast<std::size_t>(batch * beams * 2 * most));
  std::vector<half> pool(one);
  for (int const which : {0, 1}) {
    auto const* const row = offsets.data() + ((1 * beams + 0) * 2 + which) * most;
    expect_places(
        tightkv::paged_hnd(pool.data(), shape, tightkv::block_table{row, blocks, block_size}), pool.data(),
        [&](int h, int t, int d) { return ((row[t / block_size] * heads + h) * block_size + slot(t)) * head_dim + d; });
  }
}

TEST(tensorrt_llm, pool_of_pages_has_keys_and_values_side_by_side) {  // V2: [pages][K/V][H][BS][D]
  std::vector<half> memory(2 * one);
  for (int const which : {0, 1}) {
    auto const plane =
        tightkv::plane(memory.data() + which * heads * block_size * head_dim,
                       strides(2 * heads * block_size * head_dim, block_size * head_dim, head_dim, 2), head_dim);
    expect_places(plane, memory.data(), [&](int h, int t, int d) {
      return (((block(t) * 2 + which) * heads + h) * block_size + slot(t)) * head_dim + d;
    });
  }
}

TEST(tensorrt_llm, mixed_pools_are_opaque_rows_of_different_sizes_under_one_table) {
  std::vector<std::byte> fp8(static_cast<std::size_t>(one));
  std::vector<std::byte> nvfp4(static_cast<std::size_t>(one / 2));
  auto const keys = tightkv::paged_hnd(fp8.data(), shape, block_table);
  auto const values = tightkv::paged_hnd(nvfp4.data(), {heads, tokens, head_dim / 2}, block_table);
  keys.head(1)[11][79] = std::byte{1};
  values.head(1)[11][39] = std::byte{2};
  tightkv::compact(tightkv::cpu{}, tightkv::plan::of({14, 14, 14}, {{11}, {11}, {11}}), keys, values);
  EXPECT_EQ(fp8[static_cast<std::size_t>(((block(0) * heads + 1) * block_size + 0) * head_dim + 79)], std::byte{1});
  EXPECT_EQ(nvfp4[static_cast<std::size_t>(((block(0) * heads + 1) * block_size + 0) * 40 + 39)], std::byte{2});
}

}  // namespace vllm_test
