// SPDX-License-Identifier: Apache-2.0
/// What a GGUF file is made of: metadata values, tensors, and how each tensor type is stored.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

#include <tightkv/core/error.hpp>

namespace tightkv::gguf {

/// The types of metadata values, as numbered in the file.
enum class value_type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

/// An array in the metadata: checked, and unpacked by `file::get_vector`.
struct array {
  value_type element = value_type::u8;
  std::uint64_t size = 0;
  std::span<std::byte const> bytes{};
};

/// A metadata value; `value.index()` is its `value_type`.
using value = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float,
                           bool, std::string_view, array, std::uint64_t, std::int64_t, double>;

struct entry {
  std::string_view key;
  gguf::value value;
};

/// Element types of tensors, as numbered in the file.
enum class tensor_type : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q8_1 = 9,  //
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  q8_k = 15,  //
  iq2_xxs = 16,
  iq2_xs = 17,
  iq3_xxs = 18,
  iq1_s = 19,
  iq4_nl = 20,
  iq3_s = 21,
  iq2_s = 22,
  iq4_xs = 23,  //
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  iq1_m = 29,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39
};

/// How a tensor type is stored: `elements` values in `bytes` bytes.
struct block {
  tensor_type type;
  std::string_view name;
  std::uint32_t elements;
  std::uint32_t bytes;
};

namespace detail {

inline constexpr auto blocks = std::to_array<block>({
    {tensor_type::f32, "F32", 1, 4},
    {tensor_type::f16, "F16", 1, 2},
    {tensor_type::q4_0, "Q4_0", 32, 18},
    {tensor_type::q4_1, "Q4_1", 32, 20},
    {tensor_type::q5_0, "Q5_0", 32, 22},
    {tensor_type::q5_1, "Q5_1", 32, 24},
    {tensor_type::q8_0, "Q8_0", 32, 34},
    {tensor_type::q8_1, "Q8_1", 32, 40},
    {tensor_type::q2_k, "Q2_K", 256, 84},
    {tensor_type::q3_k, "Q3_K", 256, 110},
    {tensor_type::q4_k, "Q4_K", 256, 144},
    {tensor_type::q5_k, "Q5_K", 256, 176},
    {tensor_type::q6_k, "Q6_K", 256, 210},
    {tensor_type::q8_k, "Q8_K", 256, 292},
    {tensor_type::iq2_xxs, "IQ2_XXS", 256, 66},
    {tensor_type::iq2_xs, "IQ2_XS", 256, 74},
    {tensor_type::iq3_xxs, "IQ3_XXS", 256, 98},
    {tensor_type::iq1_s, "IQ1_S", 256, 50},
    {tensor_type::iq4_nl, "IQ4_NL", 32, 18},
    {tensor_type::iq3_s, "IQ3_S", 256, 110},
    {tensor_type::iq2_s, "IQ2_S", 256, 82},
    {tensor_type::iq4_xs, "IQ4_XS", 256, 136},
    {tensor_type::i8, "I8", 1, 1},
    {tensor_type::i16, "I16", 1, 2},
    {tensor_type::i32, "I32", 1, 4},
    {tensor_type::i64, "I64", 1, 8},
    {tensor_type::f64, "F64", 1, 8},
    {tensor_type::iq1_m, "IQ1_M", 256, 56},
    {tensor_type::bf16, "BF16", 1, 2},
    {tensor_type::tq1_0, "TQ1_0", 256, 54},
    {tensor_type::tq2_0, "TQ2_0", 256, 66},
    {tensor_type::mxfp4, "MXFP4", 32, 17},
});

}  // namespace detail

/// The storage of a tensor type.
inline block const& block_of(tensor_type type) {
  auto const found = std::ranges::find(detail::blocks, type, &block::type);
  tightkv::detail::expects(found != detail::blocks.end(), "gguf", "unknown tensor type", "type",
                           static_cast<std::uint32_t>(type));
  return *found;
}
inline std::string_view name_of(tensor_type type) { return block_of(type).name; }

struct tensor {
  std::string_view name;
  int dimensions = 0;                              ///< 1 to 4
  std::array<std::uint64_t, 4> shape{1, 1, 1, 1};  ///< the innermost (contiguous) dimension first
  tensor_type type = tensor_type::f32;
  std::uint64_t offset = 0;  ///< in the data section
  std::span<std::byte const> data{};

  std::uint64_t elements() const noexcept { return shape[0] * shape[1] * shape[2] * shape[3]; }
};

}  // namespace tightkv::gguf
