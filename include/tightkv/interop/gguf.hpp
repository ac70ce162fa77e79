// SPDX-License-Identifier: Apache-2.0
/// GGUF model files (versions 2 and 3): what is in one, read from bytes the caller already has, usually a mapping.
///
///     auto const file = tightkv::gguf::file{bytes};
///     auto const layers = file.get<int>("llama.block_count");
///     for (auto const& t : file.tensors()) std::cout << t.name << ' ' << name_of(t.type) << ' ' << t.data.size() << '\n';
///
/// Nothing is copied: strings, arrays and tensor data are views of the bytes, which must outlive the `file`. Every
/// length in the file is taken for hostile: a file that breaks a rule throws `bad_argument`, and memory stays
/// proportional to its size. Tensors lie inside the data section and do not overlap, so unpacking them all is
/// proportional as well.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <tightkv/core/error.hpp>
#include <tightkv/interop/gguf_types.hpp>

namespace tightkv::gguf {

static_assert(std::endian::native == std::endian::little, "tightkv::gguf reads little-endian files on such machines");

namespace detail {

using tightkv::detail::expects;
using tightkv::detail::refuse;

/// A name out of the file, fit for a message.
inline std::string printable(std::string_view text) {
  constexpr std::size_t longest = 64;
  std::string shown{text.substr(0, longest)};
  std::ranges::replace_if(
      shown, [](char c) { return c < ' ' || c > '~'; }, '?');
  if (text.size() > longest) shown += "...";
  return shown;
}

/// Takes bytes off the front; every length is compared with what is left before it is used.
class cursor {
 public:
  explicit cursor(std::span<std::byte const> bytes) : rest_(bytes) {}

  std::span<std::byte const> rest() const noexcept { return rest_; }

  std::span<std::byte const> take(std::uint64_t bytes) {
    expects(bytes <= rest_.size(), "gguf", "the file ends too early", "needed", bytes, "left", rest_.size());
    auto const front = rest_.first(static_cast<std::size_t>(bytes));
    rest_ = rest_.subspan(front.size());
    return front;
  }

  template <class T>
  T number() {
    auto const bytes = take(sizeof(T));
    if constexpr (std::same_as<T, bool>) {
      auto const byte = std::to_integer<unsigned>(bytes[0]);
      expects(byte <= 1, "gguf", "a bool must be 0 or 1", "byte", byte);
      return byte == 1;
    } else {
      T result;
      std::memcpy(&result, bytes.data(), sizeof result);
      return result;
    }
  }

  /// A number of things that take at least `smallest` bytes each, and so must fit into what is left.
  std::uint64_t count(std::uint64_t smallest, std::string_view what) {
    auto const n = number<std::uint64_t>();
    if (n > rest_.size() / smallest)
      refuse("gguf", "there cannot be so many", {{what, n}, {"bytes left", rest_.size()}});
    return n;
  }

  std::string_view string() {
    auto const bytes = take(number<std::uint64_t>());
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
  }

  value_type type() {
    auto const t = number<std::uint32_t>();
    expects(t <= static_cast<std::uint32_t>(value_type::f64), "gguf", "unknown type of a metadata value", "type", t);
    return static_cast<value_type>(t);
  }

  gguf::value value(value_type type, int depth = 0) {
    return value_of(static_cast<std::size_t>(type), depth,
                    std::make_index_sequence<std::variant_size_v<gguf::value>>{});
  }

 private:
  template <std::size_t... I>
  gguf::value value_of(std::size_t type, int depth, std::index_sequence<I...>) {
    gguf::value result;
    static_cast<void>(
        ((I == type && (result = value_as<std::variant_alternative_t<I, gguf::value>>(depth), true)) || ...));
    return result;
  }
  template <class T>
  T value_as(int depth) {
    if constexpr (std::same_as<T, std::string_view>)
      return string();
    else if constexpr (std::same_as<T, gguf::array>)
      return array(depth + 1);
    else
      return number<T>();
  }

  gguf::array array(int depth) {
    expects(depth <= deepest, "gguf", "arrays are nested too deeply", "depth", depth);
    gguf::array result{.element = type()};
    constexpr std::array<std::uint64_t, 13> smallest{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
    auto const each = smallest[static_cast<std::size_t>(result.element)];
    result.size = count(each, "array elements");
    auto const before = rest_;
    bool const plain = result.element != value_type::boolean && result.element != value_type::string &&
                       result.element != value_type::array;
    if (plain) {
      take(result.size * each);
    } else {
      for (std::uint64_t i = 0; i < result.size; ++i) value(result.element, depth);
    }
    result.bytes = before.first(before.size() - rest_.size());
    return result;
  }

  static constexpr int deepest = 4;
  std::span<std::byte const> rest_;
};

/// `from` as a `T`: numbers become any number type that holds them, nothing else changes its kind.
template <class T>
T converted(value const& from, std::string_view key) {
  return std::visit(
      [&]<class S>(S const& v) -> T {
        if constexpr (std::same_as<S, T>) {
          return v;
        } else if constexpr (std::integral<S> && std::integral<T> && !std::same_as<S, bool> && !std::same_as<T, bool>) {
          if (!std::in_range<T>(v))
            refuse("gguf", "the value is out of range", {{"key", printable(key)}, {"value", v}});
          return static_cast<T>(v);
        } else if constexpr (std::floating_point<S> && std::floating_point<T>) {
          return static_cast<T>(v);
        } else {
          refuse("gguf", "the value has another type than expected", {{"key", printable(key)}, {"type", from.index()}});
        }
      },
      from);
}

/// The order of `items` by `name`, each of which must be unique.
template <class Item>
std::vector<std::uint32_t> order_by(std::vector<Item> const& items, std::string_view Item::*name,
                                    std::string_view rule) {
  std::vector<std::uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0U);
  auto const name_at = [&](std::uint32_t i) { return items[i].*name; };
  std::ranges::sort(order, {}, name_at);
  auto const twice = std::ranges::adjacent_find(order, {}, name_at);
  if (twice != order.end()) refuse("gguf", rule, {{"name", printable(name_at(*twice))}});
  return order;
}

template <class Item>
Item const* find_by(std::vector<Item> const& items, std::vector<std::uint32_t> const& order,
                    std::string_view Item::*name, std::string_view wanted) {
  auto const name_at = [&](std::uint32_t i) { return items[i].*name; };
  auto const at = std::ranges::lower_bound(order, wanted, {}, name_at);
  return at != order.end() && name_at(*at) == wanted ? &items[*at] : nullptr;
}

}  // namespace detail

/// A GGUF file: its metadata in file order and its tensors, each also found by name.
class file {
 public:
  /// Reads the header; `bytes` is the whole file and must outlive this object.
  explicit file(std::span<std::byte const> bytes) {
    detail::cursor in{bytes};
    auto const magic = in.take(4);
    detail::expects(std::memcmp(magic.data(), "GGUF", 4) == 0, "gguf", "the file must begin with GGUF");
    version_ = in.number<std::uint32_t>();
    detail::expects(version_ == 2 || version_ == 3, "gguf", "the version must be 2 or 3", "version", version_);
    auto const tensor_count = in.count(smallest_tensor, "tensors");
    read_metadata(in, in.count(smallest_entry, "metadata entries"));
    read_tensors(in, tensor_count);
    place_tensors(bytes, bytes.size() - in.rest().size());
  }

  std::uint32_t version() const noexcept { return version_; }
  std::uint64_t alignment() const noexcept { return alignment_; }
  std::vector<entry> const& metadata() const noexcept { return metadata_; }
  std::vector<gguf::tensor> const& tensors() const noexcept { return tensors_; }

  /// The value under `key`, or null.
  value const* find(std::string_view key) const {
    auto const* found = detail::find_by(metadata_, metadata_order_, &entry::key, key);
    return found != nullptr ? &found->value : nullptr;
  }

  /// The value under `key` as a number that holds it, `bool`, `std::string_view` or `array`.
  template <class T>
  T get(std::string_view key) const {
    auto const* found = find(key);
    if (found == nullptr) detail::refuse("gguf", "the metadata lacks a key", {{"key", detail::printable(key)}});
    return detail::converted<T>(*found, key);
  }
  template <class T>
  T get_or(std::string_view key, T fallback) const {
    auto const* found = find(key);
    return found != nullptr ? detail::converted<T>(*found, key) : fallback;
  }
  /// The array under `key`, unpacked.
  template <class T>
  std::vector<T> get_vector(std::string_view key) const {
    auto const from = get<array>(key);
    detail::cursor in{from.bytes};
    std::vector<T> result;
    for (std::uint64_t i = 0; i < from.size; ++i) result.push_back(detail::converted<T>(in.value(from.element), key));
    return result;
  }

  /// The tensor of that name, or null.
  gguf::tensor const* find_tensor(std::string_view name) const {
    return detail::find_by(tensors_, tensors_order_, &gguf::tensor::name, name);
  }
  gguf::tensor const& tensor(std::string_view name) const {
    auto const* found = find_tensor(name);
    if (found == nullptr) detail::refuse("gguf", "the file lacks a tensor", {{"name", detail::printable(name)}});
    return *found;
  }

 private:
  // An empty key, a type and one byte; an empty name, one dimension, a type and an offset.
  static constexpr std::uint64_t smallest_entry = 8 + 4 + 1;
  static constexpr std::uint64_t smallest_tensor = 8 + 4 + 8 + 4 + 8;
  static constexpr std::size_t longest_key = 65535;
  static constexpr std::size_t longest_name = 64;

  void read_metadata(detail::cursor& in, std::uint64_t count) {
    metadata_.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
      auto const key = in.string();
      detail::expects(key.size() <= longest_key, "gguf", "a key is too long", "length", key.size());
      metadata_.push_back({.key = key, .value = in.value(in.type())});
    }
    metadata_order_ = detail::order_by(metadata_, &entry::key, "a key occurs twice");
    alignment_ = get_or<std::uint32_t>("general.alignment", 32);
    detail::expects(std::has_single_bit(alignment_), "gguf", "the alignment must be a power of two", "alignment",
                    alignment_);
  }

  void read_tensors(detail::cursor& in, std::uint64_t count) {
    tensors_.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
      gguf::tensor t{.name = in.string()};
      detail::expects(t.name.size() <= longest_name, "gguf", "a tensor's name is too long", "length", t.name.size());
      auto const dimensions = in.number<std::uint32_t>();
      detail::expects(1 <= dimensions && dimensions <= t.shape.size(), "gguf", "a tensor must have 1 to 4 dimensions",
                      "tensor", detail::printable(t.name), "dimensions", dimensions);
      t.dimensions = static_cast<int>(dimensions);
      for (std::uint32_t d = 0; d < dimensions; ++d) t.shape[d] = in.number<std::uint64_t>();
      t.type = block_of(static_cast<tensor_type>(in.number<std::uint32_t>())).type;
      t.offset = in.number<std::uint64_t>();
      tensors_.push_back(t);
    }
    tensors_order_ = detail::order_by(tensors_, &gguf::tensor::name, "two tensors have the same name");
  }

  /// The bytes of a tensor; no more than `most`, and so without overflow.
  static std::uint64_t bytes_of(gguf::tensor const& t, std::uint64_t most) {
    auto const name = detail::printable(t.name);
    auto const block = block_of(t.type);
    detail::expects(t.shape[0] % block.elements == 0, "gguf", "rows must be whole blocks", "tensor", name, "row length",
                    t.shape[0]);
    std::uint64_t bytes = block.bytes;
    for (auto extent : {t.shape[0] / block.elements, t.shape[1], t.shape[2], t.shape[3]}) {
      detail::expects(extent != 0, "gguf", "a tensor must not be empty", "tensor", name);
      detail::expects(bytes <= most / extent, "gguf", "a tensor is larger than the file", "tensor", name);
      bytes *= extent;
    }
    return bytes;
  }

  void place_tensors(std::span<std::byte const> bytes, std::size_t header) {
    auto const padding = (alignment_ - header % alignment_) % alignment_;
    auto const left = bytes.size() - header;
    auto const data = padding <= left ? bytes.subspan(header + static_cast<std::size_t>(padding)) : bytes.last(0);
    for (auto& t : tensors_) {
      auto const size = bytes_of(t, data.size());
      auto const name = detail::printable(t.name);
      detail::expects(t.offset % alignment_ == 0, "gguf", "a tensor is not aligned", "tensor", name, "offset",
                      t.offset);
      detail::expects(t.offset <= data.size() - size, "gguf", "a tensor ends after the file", "tensor", name, "offset",
                      t.offset);
      t.data = data.subspan(static_cast<std::size_t>(t.offset), static_cast<std::size_t>(size));
    }
    auto by_offset = tensors_order_;
    std::ranges::sort(by_offset, {}, [&](std::uint32_t i) { return tensors_[i].offset; });
    for (std::size_t i = 1; i < by_offset.size(); ++i) {
      auto const& before = tensors_[by_offset[i - 1]];
      auto const& t = tensors_[by_offset[i]];
      if (before.offset + before.data.size() > t.offset) {
        detail::refuse("gguf", "two tensors overlap",
                       {{"first", detail::printable(before.name)}, {"second", detail::printable(t.name)}});
      }
    }
  }

  std::uint32_t version_ = 0;
  std::uint32_t alignment_ = 32;
  std::vector<entry> metadata_;
  std::vector<gguf::tensor> tensors_;
  std::vector<std::uint32_t> metadata_order_;
  std::vector<std::uint32_t> tensors_order_;
};

}  // namespace tightkv::gguf
