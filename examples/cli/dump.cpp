// SPDX-License-Identifier: Apache-2.0
#include "dump.hpp"

#include <charconv>
#include <limits>
#include <optional>
#include <set>

namespace tightkv::cli {
namespace {

using safetensors::dtype;
using safetensors::tensor;

/// The number in "layers.{i}.keys", or nothing.
std::optional<int> layer_number(std::string_view name) {
  constexpr std::string_view prefix = "layers.";
  if (!name.starts_with(prefix)) return {};
  int number = 0;
  auto const* const begin = name.data() + prefix.size();
  auto const [end, error] = std::from_chars(begin, name.data() + name.size(), number);
  if (error != std::errc{} || number < 0) return {};
  std::string_view const field(end, static_cast<std::size_t>(name.data() + name.size() - end));
  bool const known = field == ".keys" || field == ".values" || field == ".queries";
  return known ? std::optional(number) : std::nullopt;
}

struct extents {
  int heads, rows, head_dim;
};

extents extents_of(tensor const& t) {
  detail::expects(t.shape.size() == 3, "dump", "a tensor must have three dimensions", "tensor", t.name, "dimensions",
                  t.shape.size());
  for (auto const extent : t.shape) {
    detail::expects(extent < (std::size_t{1} << 30), "dump", "a dimension is too large", "tensor", t.name, "dimension",
                    extent);
  }
  detail::expects(t.shape[0] <= (1U << 16), "dump", "there are too many heads", "tensor", t.name, "heads", t.shape[0]);
  bool const readable = t.dtype == dtype::f32 || t.dtype == dtype::f16 || t.dtype == dtype::bf16;
  detail::expects(readable, "dump", "tensors must be F32, F16 or BF16", "tensor", t.name, "dtype", name_of(t.dtype));
  return {static_cast<int>(t.shape[0]), static_cast<int>(t.shape[1]), static_cast<int>(t.shape[2])};
}

dumped_layer layer_of(safetensors::contents const& file, std::string const& prefix, int index) {
  dumped_layer layer{.prefix = prefix, .index = index};
  auto const required = [&](char const* name) {
    auto const* const t = file.find(prefix + name);
    detail::expects(t != nullptr, "dump", "a tensor is missing", "tensor", prefix + name);
    return t;
  };
  layer.keys = required("keys");
  layer.values = required("values");
  layer.queries = file.find(prefix + "queries");

  auto const keys = extents_of(*layer.keys);
  auto const values = extents_of(*layer.values);
  detail::expects(keys.heads == values.heads && keys.rows == values.rows && keys.head_dim == values.head_dim, "dump",
                  "keys and values must have the same shape", "tensor", prefix + "values");
  detail::expects(layer.keys->dtype == layer.values->dtype, "dump", "keys and values must have the same dtype", "keys",
                  name_of(layer.keys->dtype), "values", name_of(layer.values->dtype));
  detail::expects(keys.heads >= 1 && keys.head_dim >= 1, "dump", "there must be at least one head of one channel",
                  "kv_heads", keys.heads, "head_dim", keys.head_dim);
  layer.heads = keys.heads;
  layer.tokens = keys.rows;
  layer.head_dim = keys.head_dim;

  if (layer.queries != nullptr) {
    auto const queries = extents_of(*layer.queries);
    detail::expects(queries.head_dim == keys.head_dim, "dump", "queries and keys must have the same head_dim",
                    "queries", queries.head_dim, "keys", keys.head_dim);
    detail::expects(queries.heads >= keys.heads && queries.heads % keys.heads == 0, "dump",
                    "query heads must be a multiple of KV heads", "query_heads", queries.heads, "kv_heads", keys.heads);
    detail::expects(queries.rows <= keys.rows, "dump", "there cannot be more queries than tokens", "queries",
                    queries.rows, "tokens", keys.rows);
    layer.query_heads = queries.heads;
    layer.window = queries.rows;
  }
  return layer;
}

}  // namespace

std::vector<dumped_layer> layers_of(safetensors::contents const& file) {
  std::set<int> numbers;
  bool single = false;
  for (auto const& t : file.tensors) {
    if (auto const number = layer_number(t.name)) numbers.insert(*number);
    single = single || t.name == "keys" || t.name == "values" || t.name == "queries";
  }
  detail::expects(!single || numbers.empty(), "dump", "has tensors both with and without a layer's prefix");
  if (numbers.empty()) return {layer_of(file, "", 0)};
  std::vector<dumped_layer> layers;
  for (int const number : numbers) layers.push_back(layer_of(file, "layers." + std::to_string(number) + ".", number));
  return layers;
}

}  // namespace tightkv::cli
