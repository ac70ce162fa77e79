// SPDX-License-Identifier: Apache-2.0
/// What a safetensors file is made of: named tensors over bytes that belong to somebody else.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tightkv/core/error.hpp>
#include <tightkv/core/half.hpp>

namespace tightkv::safetensors {

/// Element types, in the format's own order: a file holds its tensors by descending type, so each is aligned.
enum class dtype { boolean, u8, i8, f8_e5m2, f8_e4m3, i16, u16, f16, bf16, i32, u32, f32, f64, i64, u64 };

namespace detail {

using tightkv::detail::given;
using tightkv::detail::refuse;

struct dtype_facts {
  std::string_view name;
  std::size_t bytes;
};
inline constexpr std::array<dtype_facts, 15> dtypes{{{"BOOL", 1},
                                                     {"U8", 1},
                                                     {"I8", 1},
                                                     {"F8_E5M2", 1},
                                                     {"F8_E4M3", 1},
                                                     {"I16", 2},
                                                     {"U16", 2},
                                                     {"F16", 2},
                                                     {"BF16", 2},
                                                     {"I32", 4},
                                                     {"U32", 4},
                                                     {"F32", 4},
                                                     {"F64", 8},
                                                     {"I64", 8},
                                                     {"U64", 8}}};

constexpr std::size_t max_header_bytes = 100'000'000;  // the reference's limit

// No bool: its bytes in a file could be neither 0 nor 1.
template <class T>
constexpr std::optional<dtype> dtype_of() noexcept {
  if (std::same_as<T, std::uint8_t>) return dtype::u8;
  if (std::same_as<T, std::int8_t>) return dtype::i8;
  if (std::same_as<T, std::int16_t>) return dtype::i16;
  if (std::same_as<T, std::uint16_t>) return dtype::u16;
  if (std::same_as<T, half>) return dtype::f16;
  if (std::same_as<T, bfloat16>) return dtype::bf16;
  if (std::same_as<T, std::int32_t>) return dtype::i32;
  if (std::same_as<T, std::uint32_t>) return dtype::u32;
  if (std::same_as<T, float>) return dtype::f32;
  if (std::same_as<T, double>) return dtype::f64;
  if (std::same_as<T, std::int64_t>) return dtype::i64;
  if (std::same_as<T, std::uint64_t>) return dtype::u64;
  return std::nullopt;
}

// Names come from files: a message stays one short line whatever they hold.
inline std::string printable(std::string_view text) {
  std::string line(text.substr(0, 64));
  auto const control = [](char c) { return (0 <= c && c < 0x20) || c == 0x7f; };
  std::ranges::replace_if(line, control, '?');
  return text.size() > line.size() ? line + "..." : line;
}

}  // namespace detail

/// An element type of the format: one that `as` can give.
template <class T>
concept typed_element = detail::dtype_of<T>()
!= std::nullopt;

/// The name of an element type as files spell it, such as "BF16".
constexpr std::string_view name_of(dtype type) noexcept { return detail::dtypes[static_cast<std::size_t>(type)].name; }

/// How many bytes one element takes.
constexpr std::size_t bytes_of(dtype type) noexcept { return detail::dtypes[static_cast<std::size_t>(type)].bytes; }

/// A named tensor whose bytes, row-major and little endian, belong to somebody else.
struct tensor {
  std::string name;
  safetensors::dtype dtype = safetensors::dtype::f32;
  std::vector<std::size_t> shape;
  std::span<std::byte const> bytes;

  /// The elements, in place.
  ///
  ///     auto const keys = file.at("keys").as<tightkv::half>();
  ///
  /// Throws `bad_argument` when the tensor holds another type, or lies where a `T` may not lie: files are free to
  /// put their data anywhere. The overload below takes those, too.
  template <typed_element T>
  std::span<T const> as() const {
    check_type<T>();
    if (bytes.empty()) return {};
    if (!aligned<T>()) {
      detail::refuse("safetensors", "the tensor is not aligned to its elements", {{"tensor", detail::printable(name)}});
    }
    return {reinterpret_cast<T const*>(bytes.data()), bytes.size() / sizeof(T)};
  }

  /// The elements, in place where they are aligned, otherwise copied into `storage`.
  ///
  ///     std::vector<float> storage;
  ///     auto const keys = file.at("keys").as<float>(storage);
  ///
  /// Throws `bad_argument` when the tensor holds another type.
  template <typed_element T>
  std::span<T const> as(std::vector<T>& storage) const {
    check_type<T>();
    if (aligned<T>()) return as<T>();
    storage.resize(bytes.size() / sizeof(T));
    std::memcpy(storage.data(), bytes.data(), bytes.size());
    return storage;
  }

 private:
  template <class T>
  void check_type() const {
    constexpr auto asked = *detail::dtype_of<T>();
    if (dtype == asked) return;
    detail::refuse("safetensors", "the tensor has another element type",
                   {{"tensor", detail::printable(name)}, {"dtype", name_of(dtype)}, {"asked", name_of(asked)}});
  }
  template <class T>
  bool aligned() const noexcept {
    return bytes.empty() || reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) == 0;
  }
};

/// A tensor over elements that already lie in memory, ready to be written.
///
///     auto const kept = tightkv::safetensors::tensor_of<std::int32_t>("kept", {8, 512}, indices);
template <typed_element T>
tensor tensor_of(std::string name, std::vector<std::size_t> shape, std::span<T const> elements) {
  return {std::move(name), *detail::dtype_of<T>(), std::move(shape), std::as_bytes(elements)};
}

/// What a file holds: its tensors in the order of their names, and its text.
struct contents {
  std::vector<tensor> tensors;
  std::map<std::string, std::string, std::less<>> metadata;

  /// The tensor of that name, or null.
  tensor const* find(std::string_view name) const noexcept {
    auto const at = std::lower_bound(tensors.begin(), tensors.end(), name,
                                     [](tensor const& t, std::string_view n) { return t.name < n; });
    return at != tensors.end() && at->name == name ? &*at : nullptr;
  }

  /// The tensor of that name. Throws `bad_argument` when there is none.
  tensor const& at(std::string_view name) const {
    auto const* const found = find(name);
    if (found == nullptr) {
      detail::refuse("safetensors", "there is no such tensor", {{"tensor", detail::printable(name)}});
    }
    return *found;
  }
};

namespace detail {

// Elements times bytes per element; multiplied from the left, as the reference does.
inline std::size_t bytes_of(std::string_view name, dtype type, std::span<std::size_t const> shape) {
  std::size_t elements = 1;
  auto const times = [&](std::size_t factor) {
    if (factor != 0 && elements > std::numeric_limits<std::size_t>::max() / factor) {
      refuse("safetensors", "the product of the shape overflows", {{"tensor", printable(name)}});
    }
    elements *= factor;
  };
  for (auto const extent : shape) times(extent);
  times(safetensors::bytes_of(type));
  return elements;
}

}  // namespace detail
}  // namespace tightkv::safetensors
