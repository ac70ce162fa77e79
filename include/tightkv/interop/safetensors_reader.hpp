// SPDX-License-Identifier: Apache-2.0
/// Reads safetensors files, copying nothing and trusting nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>  // a hostile header is no place for a JSON parser made by hand
#include <tightkv/interop/safetensors_tensor.hpp>

namespace tightkv::safetensors {
namespace detail {

// Takes the header as the parser finds it: nothing nested deeper than the format goes, nothing kept that it does not
// name, so neither the stack nor the memory grows beyond what the header's own length justifies.
class header_reader {
 public:
  struct entry {
    tensor described;
    std::size_t begin = 0, end = 0;
  };

  std::vector<entry> entries;
  std::map<std::string, std::string, std::less<>> metadata;

  bool start_object(std::size_t) {
    if (place_ == place::start) return go(place::root);
    if (place_ != place::root) unexpected("an object");
    if (key_ == "__metadata__") {
      if (std::exchange(has_metadata_, true)) refuse_here("the key appears twice");
      return go(place::metadata);
    }
    entries.emplace_back().described.name = key_;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    return go(place::tensor);
  }
  bool end_object() {
    if (place_ == place::tensor && !(has_dtype_ && has_shape_ && has_offsets_)) {
      key_ = entries.back().described.name;
      refuse_here("a tensor must have dtype, shape and data_offsets");
    }
    return go(place_ == place::root ? place::finish : place::root);
  }
  bool key(std::string& name) {
    key_ = std::move(name);
    return true;
  }
  bool start_array(std::size_t) {
    if (place_ == place::tensor && key_ == "shape") {
      if (std::exchange(has_shape_, true)) refuse_here("the key appears twice");
      return go(place::shape);
    }
    if (place_ == place::tensor && key_ == "data_offsets") {
      if (std::exchange(has_offsets_, true)) refuse_here("the key appears twice");
      offsets_ = 0;
      return go(place::offsets);
    }
    return unexpected("an array");
  }
  bool end_array() {
    if (place_ == place::offsets && offsets_ != 2) refuse_here("data_offsets must be two numbers");
    return go(place::tensor);
  }
  bool number_unsigned(std::uint64_t value) {
    if (place_ != place::shape && place_ != place::offsets) unexpected("a number");
    if (!std::in_range<std::size_t>(value)) refuse_here("the number is too large");
    auto const number = static_cast<std::size_t>(value);
    auto& current = entries.back();
    if (place_ == place::shape) {
      current.described.shape.push_back(number);
    } else if (offsets_ < 2) {
      (offsets_ == 0 ? current.begin : current.end) = number;
      ++offsets_;
    } else {
      refuse_here("data_offsets must be two numbers");
    }
    return true;
  }
  bool string(std::string& text) {
    if (place_ == place::metadata) {
      if (!metadata.emplace(key_, std::move(text)).second) refuse_here("the key appears twice");
      return true;
    }
    if (place_ != place::tensor || key_ != "dtype") unexpected("a string");
    if (std::exchange(has_dtype_, true)) refuse_here("the key appears twice");
    auto const found = std::ranges::find(dtypes, std::string_view(text), &dtype_facts::name);
    if (found == dtypes.end()) {
      refuse("safetensors", "the element type is not known",
             {{"tensor", printable(entries.back().described.name)}, {"dtype", printable(text)}});
    }
    entries.back().described.dtype = static_cast<dtype>(found - dtypes.begin());
    return true;
  }
  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a boolean"); }
  bool number_integer(std::int64_t) { return unexpected("a negative number"); }
  bool number_float(double, std::string const&) { return unexpected("a number that is not a whole one"); }
  bool binary(nlohmann::json::binary_t&) { return unexpected("binary data"); }
  bool parse_error(std::size_t position, std::string const&, nlohmann::json::exception const&) {
    refuse("safetensors", "the header is not valid JSON", {{"position", position}});
  }

 private:
  enum class place { start, root, metadata, tensor, shape, offsets, finish };

  bool go(place next) noexcept {
    place_ = next;
    return true;
  }
  [[noreturn]] void refuse_here(std::string_view rule) const {
    refuse("safetensors", rule, {{"key", printable(key_)}});
  }
  [[noreturn]] bool unexpected(std::string_view what) const {
    refuse("safetensors", "the header holds what does not belong there",
           {{"after key", printable(key_)}, {"found", what}});
  }

  place place_ = place::start;
  std::string key_;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  int offsets_ = 0;
};

}  // namespace detail

/// Reads a file that lies in memory; the tensors point into it.
///
///     auto const file = tightkv::read_file("cache.safetensors");
///     auto const cache = tightkv::safetensors::parse(file.bytes());
///     auto const& keys = cache.at("keys");   // keys.shape, keys.dtype, keys.as<float>()
///
/// Throws `bad_argument` for whatever is not a well-formed file: lengths that do not fit, JSON or UTF-8 errors, keys
/// that appear twice or that the format does not have, unknown element types, shapes that overflow or do not match
/// their bytes, holes and overlaps. Memory is at most proportional to the header.
inline contents parse(std::span<std::byte const> file) {
  using detail::refuse;
  std::uint64_t length = 0;
  if (file.size() < sizeof length) refuse("safetensors", "the file is too short", {{"bytes", file.size()}});
  std::memcpy(&length, file.data(), sizeof length);
  if (length > detail::max_header_bytes || length > file.size() - sizeof length) {
    refuse("safetensors", "the header must fit into the file, and into 100 MB",
           {{"header bytes", length}, {"file bytes", file.size()}});
  }
  auto const text = std::string_view(reinterpret_cast<char const*>(file.data()) + sizeof length, length);
  auto const data = file.subspan(sizeof length + text.size());
  if (!text.starts_with('{')) refuse("safetensors", "the header must begin with {");
  // The parser takes a zero byte for the end of its input.
  if (text.find('\0') != text.npos) refuse("safetensors", "the header must not hold zero bytes");

  detail::header_reader header;
  nlohmann::json::sax_parse(text.begin(), text.end(), &header);

  auto& entries = header.entries;
  std::ranges::sort(entries, {}, [](auto const& e) { return std::pair(e.begin, e.end); });
  std::size_t end = 0;
  for (auto& [described, first, last] : entries) {
    auto const name = detail::printable(described.name);
    if (first != end || last < first) {
      refuse("safetensors", "tensors must follow each other without holes or overlaps",
             {{"tensor", name}, {"begin", first}, {"end", last}, {"expected begin", end}});
    }
    if (last > data.size()) {
      refuse("safetensors", "the tensor must lie in the file",
             {{"tensor", name}, {"end", last}, {"data bytes", data.size()}});
    }
    auto const bytes = detail::bytes_of(described.name, described.dtype, described.shape);
    if (last - first != bytes) {
      refuse("safetensors", "the offsets must match shape and dtype",
             {{"tensor", name}, {"begin", first}, {"end", last}, {"bytes of the shape", bytes}});
    }
    described.bytes = data.subspan(first, bytes);
    end = last;
  }
  if (end != data.size()) {
    refuse("safetensors", "the file must end with its last tensor", {{"end", end}, {"data bytes", data.size()}});
  }

  contents result{{}, std::move(header.metadata)};
  result.tensors.reserve(entries.size());
  for (auto& e : entries) result.tensors.push_back(std::move(e.described));
  std::ranges::sort(result.tensors, {}, &tensor::name);
  auto const twice = std::ranges::adjacent_find(result.tensors, {}, &tensor::name);
  if (twice != result.tensors.end()) {
    refuse("safetensors", "the tensor appears twice", {{"tensor", detail::printable(twice->name)}});
  }
  return result;
}

}  // namespace tightkv::safetensors
