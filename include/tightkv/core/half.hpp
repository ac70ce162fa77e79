// SPDX-License-Identifier: Apache-2.0
/// `half` and `bfloat16`: two bytes of storage that convert to and from `float`, rounding to nearest even.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <tightkv/core/config.hpp>

namespace tightkv {
namespace detail {

// Not std::bit_cast: nvcc would want --expt-relaxed-constexpr, and a header must not dictate its users' flags.
template <class To, class From>
TIGHTKV_HD inline To bits_as(From from) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(static_cast<void*>(&to), &from, sizeof to);
  return to;
}

}  // namespace detail

/// IEEE 754 binary16.
struct half {
  std::uint16_t bits = 0;

  half() = default;
  TIGHTKV_HD explicit half(float value) noexcept {
    auto const f = detail::bits_as<std::uint32_t>(value);
    auto const sign = static_cast<std::uint16_t>((f >> 16) & 0x8000U);
    std::uint32_t const magnitude = f & 0x7fffffffU;
    if (magnitude > 0x7f800000U) {  // NaN: keep it quiet, keep the payload's top bits
      bits = static_cast<std::uint16_t>(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
    } else if (magnitude >= 0x477ff000U) {  // rounds to 65536 or more
      bits = static_cast<std::uint16_t>(sign | 0x7c00U);
    } else if (magnitude >= 0x38800000U) {  // normal
      std::uint32_t const rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
      bits = static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
    } else {  // subnormal or zero: adding 0.5 puts the result, rounded by the hardware, into the low mantissa bits
      float const shifted = detail::bits_as<float>(magnitude) + 0.5F;
      bits = static_cast<std::uint16_t>(sign | (detail::bits_as<std::uint32_t>(shifted) - 0x3f000000U));
    }
  }
  TIGHTKV_HD explicit operator float() const noexcept {
    std::uint32_t const sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
    std::uint32_t const magnitude = bits & 0x7fffU;
    if (magnitude >= 0x7c00U) return detail::bits_as<float>(sign | 0x7f800000U | ((magnitude & 0x3ffU) << 13));
    if (magnitude >= 0x0400U) return detail::bits_as<float>(sign | ((magnitude << 13) + 0x38000000U));
    // Subnormal: the mantissa counts units of 2^-24.
    return detail::bits_as<float>(sign | detail::bits_as<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24F));
  }
};

/// The upper half of a binary32.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  TIGHTKV_HD explicit bfloat16(float value) noexcept {
    auto const f = detail::bits_as<std::uint32_t>(value);
    bool const nan = (f & 0x7fffffffU) > 0x7f800000U;
    bits = nan ? static_cast<std::uint16_t>((f >> 16) | 0x40U)
               : static_cast<std::uint16_t>((f + 0x7fffU + ((f >> 16) & 1U)) >> 16);
  }
  TIGHTKV_HD explicit operator float() const noexcept {
    return detail::bits_as<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

static_assert(sizeof(half) == 2 && std::is_trivially_copyable_v<half>);
static_assert(sizeof(bfloat16) == 2 && std::is_trivially_copyable_v<bfloat16>);

/// Element types whose values can be read and written as `float`.
template <class T>
concept numeric_element = std::same_as<T, float> || std::same_as<T, half> || std::same_as<T, bfloat16>;

/// What a plane may hold: numbers, or `std::byte` for rows that can be moved but not read ("opaque").
template <class T>
concept element = numeric_element<T> || std::same_as<T, std::byte>;

}  // namespace tightkv
