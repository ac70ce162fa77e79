// SPDX-License-Identifier: Apache-2.0
/// Writes safetensors files: wholly or not at all, byte for byte as the Python package does.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>  // for the escapes and the UTF-8 check of names
#include <tightkv/interop/file.hpp>
#include <tightkv/interop/safetensors_tensor.hpp>

namespace tightkv::safetensors {
namespace detail {

// The order of the tensors in the file, and everything that comes before their bytes.
struct prelude {
  std::vector<tensor const*> order;
  std::string bytes;
};

inline prelude prelude_of(contents const& what) {
  prelude result;
  for (auto const& t : what.tensors) result.order.push_back(&t);
  std::ranges::sort(result.order, [](tensor const* a, tensor const* b) {
    return a->dtype != b->dtype ? a->dtype > b->dtype : a->name < b->name;
  });

  auto const quoted = [](std::string const& text) -> std::string {
    try {
      return nlohmann::json(text).dump();
    } catch (nlohmann::json::exception const&) {
      refuse("safetensors", "names and metadata must be UTF-8", {{"text", printable(text)}});
    }
  };
  std::string json = "{";
  if (!what.metadata.empty()) {
    json += "\"__metadata__\":{";
    for (auto const& [key, value] : what.metadata) json += quoted(key) + ':' + quoted(value) + ',';
    json.back() = '}';
    json += ',';
  }
  std::size_t begin = 0;
  for (auto const* const t : result.order) {
    auto const name = printable(t->name);
    if (t->name == "__metadata__") refuse("safetensors", "the name is taken by the format", {{"tensor", name}});
    auto const bytes = bytes_of(t->name, t->dtype, t->shape);
    if (t->bytes.size() != bytes) {
      refuse("safetensors", "the bytes given must match shape and dtype",
             {{"tensor", name}, {"bytes", t->bytes.size()}, {"bytes of the shape", bytes}});
    }
    json += quoted(t->name) + ":{\"dtype\":\"" + std::string(name_of(t->dtype)) + "\",\"shape\":[";
    for (auto const extent : t->shape) json += std::to_string(extent) + ',';
    if (!t->shape.empty()) json.pop_back();
    json += "],\"data_offsets\":[" + std::to_string(begin) + ',' + std::to_string(begin + bytes) + "]},";
    begin += bytes;
  }
  if (json.size() > 1) json.pop_back();
  json += '}';
  std::vector<std::string_view> names;
  for (auto const& t : what.tensors) names.push_back(t.name);
  std::ranges::sort(names);
  if (auto const twice = std::ranges::adjacent_find(names); twice != names.end()) {
    refuse("safetensors", "the tensor appears twice", {{"tensor", printable(*twice)}});
  }

  json.append((8 - json.size() % 8) % 8, ' ');
  if (json.size() > max_header_bytes) {
    refuse("safetensors", "the header must fit into 100 MB", {{"header bytes", json.size()}});
  }
  auto const length = std::bit_cast<std::array<char, 8>>(std::uint64_t{json.size()});
  result.bytes.assign(length.data(), length.size()).append(json);
  return result;
}

}  // namespace detail

/// Writes tensors and metadata to a file: wholly, or not at all (see `write_file`).
///
///     tightkv::safetensors::write("kept.safetensors", {.tensors = {keys, values}, .metadata = {{"keep", "0.5"}}});
///
/// The order of the tensors in the file does not depend on the order given. Throws `bad_argument` for names that
/// appear twice or are not UTF-8, bytes that do not match shape and dtype, and a path that cannot be written.
inline void write(std::filesystem::path const& path, contents const& what) {
  auto const prelude = detail::prelude_of(what);
  std::vector<std::span<std::byte const>> pieces{std::as_bytes(std::span(prelude.bytes))};
  for (auto const* const t : prelude.order) pieces.push_back(t->bytes);
  write_file(path, pieces);
}

}  // namespace tightkv::safetensors
