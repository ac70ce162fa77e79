// SPDX-License-Identifier: Apache-2.0
#include "dequantise.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <engine/gguf_builder.hpp>
#include <tightkv/core/half.hpp>

namespace dequantise_test {

using test::byte_writer;
using test::tensor_type;

std::vector<float> unpacked(std::uint64_t elements, tensor_type type, byte_writer const& data) {
  test::gguf_builder b;
  b.tensor("t", {elements}, type, data.bytes());
  auto const bytes = b.build();
  tightkv::gguf::file const file{bytes};
  engine::thread_pool pool{2};
  std::vector<float> result(elements);
  engine::dequantise(pool, file.tensor("t"), result);
  return result;
}

TEST(dequantise, floats_of_all_widths) {
  EXPECT_THAT(unpacked(2, tensor_type::f32, byte_writer{}.number(1.5F).number(-2.0F)),
              testing::ElementsAre(1.5F, -2.0F));
  EXPECT_THAT(unpacked(2, tensor_type::f16, byte_writer{}.number(tightkv::half(0.25F)).number(tightkv::half(-3.0F))),
              testing::ElementsAre(0.25F, -3.0F));
  EXPECT_THAT(
      unpacked(2, tensor_type::bf16, byte_writer{}.number(tightkv::bfloat16(0.5F)).number(tightkv::bfloat16(7.0F))),
      testing::ElementsAre(0.5F, 7.0F));
}

TEST(dequantise, q8_0_is_scale_times_code) {
  byte_writer w;
  for (float const scale : {0.5F, 2.0F}) {
    w.number(tightkv::half(scale));
    for (int i = 0; i < 32; ++i) w.number(static_cast<std::int8_t>(i == 0 ? -128 : i - 16));
  }
  auto const x = unpacked(64, tensor_type::q8_0, w);
  EXPECT_EQ(x[0], -64.0F);
  EXPECT_EQ(x[1], -7.5F);
  EXPECT_EQ(x[31], 7.5F);
  EXPECT_EQ(x[63], 30.0F);
}

TEST(dequantise, q4_0_is_centred_and_halves_share_bytes) {
  byte_writer w;
  w.number(tightkv::half(0.5F));
  for (int i = 0; i < 16; ++i) w.number(static_cast<std::uint8_t>((15 - i) << 4 | i));
  auto const x = unpacked(32, tensor_type::q4_0, w);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(x[i], 0.5F * (static_cast<float>(i) - 8));
    EXPECT_EQ(x[i + 16], 0.5F * (7 - static_cast<float>(i)));
  }
}

TEST(dequantise, q4_1_adds_the_minimum) {
  byte_writer w;
  w.number(tightkv::half(0.25F)).number(tightkv::half(-1.0F));
  for (int i = 0; i < 16; ++i) w.number(static_cast<std::uint8_t>((15 - i) << 4 | i));
  auto const x = unpacked(32, tensor_type::q4_1, w);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(x[i], 0.25F * static_cast<float>(i) - 1);
    EXPECT_EQ(x[i + 16], 0.25F * (15 - static_cast<float>(i)) - 1);
  }
}

TEST(dequantise, refuses_other_types) {
  byte_writer w;
  w.raw(std::vector<std::byte>(210));
  EXPECT_THROW(unpacked(256, tensor_type::q6_k, w), tightkv::bad_argument);
}

}  // namespace dequantise_test
