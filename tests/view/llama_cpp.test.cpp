// SPDX-License-Identifier: Apache-2.0
/// llama.cpp's caches, viewed where they lie.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include <support/places.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/view/kv_view.hpp>
#include <tightkv/view/layouts.hpp>

namespace llama_cpp_test {

using namespace tests;
using tightkv::half;

constexpr int streams = 2;
constexpr int kv_size = 24;
constexpr int heads = 3;
constexpr int head_dim = 64;
constexpr int stream = 1;
// A sequence owns whatever cells were free.
std::vector<std::int32_t> const list{17, 3, 4, 23, 0, 9, 10};
int const tokens = static_cast<int>(list.size());
std::ptrdiff_t cell(int t) { return list[static_cast<std::size_t>(t)]; }

TEST(llama_cpp, keys_and_with_flash_attention_values_are_cells) {
  std::vector<half> memory(streams * kv_size * heads * head_dim);  // [stream][cell][head][head_dim]
  auto const plane = tightkv::cells(memory.data() + stream * kv_size * heads * head_dim, {heads, tokens, head_dim},
                                    list.data(), kv_size);
  expect_places(plane, memory.data(),
                [](int h, int t, int d) { return ((stream * kv_size + cell(t)) * heads + h) * head_dim + d; });
}

TEST(llama_cpp, values_without_flash_attention_are_transposed_cells) {
  std::vector<half> memory(streams * heads * head_dim * kv_size);  // [stream][head][head_dim][cell]
  auto const plane = tightkv::transposed_cells(memory.data() + stream * heads * head_dim * kv_size,
                                               {heads, tokens, head_dim}, list.data(), kv_size);
  expect_places(plane, memory.data(), [](int h, int t, int d) {
    return stream * heads * head_dim * kv_size + (h * head_dim + d) * kv_size + cell(t);
  });
}

TEST(llama_cpp, values_without_flash_attention_of_a_saved_sequence_are_transposed) {
  std::vector<half> blob(static_cast<std::size_t>(heads * head_dim * tokens));  // for each of H*D: cell_count elements
  expect_places(tightkv::transposed(blob.data(), {heads, tokens, head_dim}), blob.data(),
                [](int h, int t, int d) { return (h * head_dim + d) * tokens + t; });
}

TEST(llama_cpp, mla_has_keys_of_576_whose_first_512_are_the_values) {
  std::vector<half> memory(kv_size * 576);
  auto const keys = tightkv::cells(memory.data(), {1, tokens, 576}, list.data(), kv_size);
  tightkv::paged const where{.heads = 1,
                             .tokens = tokens,
                             .block_table = list.data(),
                             .pages = kv_size,
                             .page_size = 1,
                             .page_stride = 576 * sizeof(half)};
  auto const values = tightkv::plane(memory.data(), where, 512);
  auto const place = [](int, int t, int d) { return cell(t) * 576 + d; };
  expect_places(keys, memory.data(), place);
  expect_places(values, memory.data(), place);
  EXPECT_NO_THROW(tightkv::kv_view{keys});  // values may be absent
}

/// A row of q8_0: blocks of 32 values, each two bytes of scale and 32 of codes.
constexpr int q8_0_row = head_dim / 32 * 34;

TEST(llama_cpp, quantised_rows_are_opaque_bytes_and_are_compacted) {
  std::vector<std::byte> memory(kv_size * heads * q8_0_row);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<std::byte>(i * 7 % 251);
  auto const before = memory;
  auto const plane = tightkv::cells(memory.data(), {heads, tokens, q8_0_row}, list.data(), kv_size);
  auto const place = [](int h, int t) { return static_cast<std::size_t>((cell(t) * heads + h) * q8_0_row); };
  expect_places(plane, memory.data(),
                [&](int h, int t, int d) { return static_cast<std::ptrdiff_t>(place(h, t)) + d; });

  auto const plan = tightkv::plan::of({7, 7, 7}, {{0, 2, 6}, {3, 4, 5}, {1, 5, 6}});
  tightkv::compact(tightkv::cpu{}, plan, plane);
  auto want = before;
  for (int h = 0; h < heads; ++h) {
    int j = 0;
    for (int const t : plan.kept(h)) std::memcpy(&want[place(h, j++)], &before[place(h, t)], q8_0_row);
  }
  EXPECT_EQ(memory, want);
}

TEST(ik_llama_cpp, layers_of_different_types_are_views_of_their_own_under_one_plan) {
  std::vector<half> first(kv_size * heads * head_dim);
  std::vector<std::byte> second(kv_size * heads * q8_0_row);
  for (std::size_t i = 0; i < first.size(); ++i) first[i].bits = static_cast<std::uint16_t>(i);
  for (std::size_t i = 0; i < second.size(); ++i) second[i] = static_cast<std::byte>(i / q8_0_row);
  auto const a = tightkv::cells(first.data(), {heads, tokens, head_dim}, list.data(), kv_size);
  auto const b = tightkv::cells(second.data(), {heads, tokens, q8_0_row}, list.data(), kv_size);
  tightkv::compact(tightkv::cpu{}, tightkv::plan::of({7, 7, 7}, {{3}, {3}, {3}}), a, b);
  for (int h = 0; h < heads; ++h) {
    EXPECT_EQ(a.head(h)[0][5].bits, static_cast<std::uint16_t>((cell(3) * heads + h) * head_dim + 5));
    EXPECT_EQ(b.head(h)[0][5], static_cast<std::byte>(cell(3) * heads + h));
  }
}

}  // namespace llama_cpp_test
