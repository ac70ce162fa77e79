// SPDX-License-Identifier: Apache-2.0
/// Calibration statistics in safetensors files, so that shards made elsewhere can be added up.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tightkv/interop/safetensors.hpp>
#include <tightkv/mergers/calibration.hpp>

namespace tightkv {
namespace detail {

/// The extents of a model in the order in which files have them.
inline std::array<std::int64_t, 8> extents_of(calibration const& sums) {
  auto const& s = sums.shape;
  return {static_cast<std::int64_t>(sums.layers.size()),
          s.query_heads,
          s.kv_heads,
          s.key_dim,
          s.value_dim,
          s.rotary.channels,
          s.rotary.pairs == rotary_pairs::interleaved ? 1 : 0,
          s.qk_norm ? 1 : 0};
}

struct shape_of_file {
  std::int64_t layers;
  attention_shape attention;
};

inline shape_of_file shape_in(safetensors::contents const& file) {
  constexpr auto who = "load_calibration";
  std::vector<std::int64_t> storage;
  auto const x = file.at("shape").as<std::int64_t>(storage);
  expects(x.size() == 8, who, "the shape must be eight numbers", "numbers", x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    expects(x[i] >= 0 && x[i] <= 1 << 20, who, "a number of the shape is out of range", "place", i, "number", x[i]);
  }
  expects(x[0] >= 1, who, "needs at least one layer", "layers", x[0]);
  auto const number = [&](std::size_t i) { return static_cast<int>(x[i]); };
  attention_shape const attention{
      .query_heads = number(1),
      .kv_heads = number(2),
      .key_dim = number(3),
      .value_dim = number(4),
      .rotary = {number(5), x[6] == 1 ? rotary_pairs::interleaved : rotary_pairs::half_split},
      .qk_norm = x[7] == 1};
  check_attention(who, attention);
  return {x[0], attention};
}

/// Nothing is allocated that the file does not hold.
inline gram gram_in(safetensors::contents const& file, std::string const& name, std::int64_t size) {
  constexpr auto who = "load_calibration";
  auto const& products = file.at(name + ".products");
  auto const& sums = file.at(name + ".sums");
  auto const& rows = file.at(name + ".rows");
  auto const channels = static_cast<std::size_t>(size);
  bool const fits = products.shape == std::vector{channels, channels} && sums.shape == std::vector{channels} &&
                    rows.shape == std::vector<std::size_t>{2};
  expects(fits, who, "the sums must have the shape of the model", "tensor", std::string_view(name), "channels", size);
  std::vector<double> storage;
  auto const elements = products.as<double>(storage);
  matrix<double> square(static_cast<int>(size), static_cast<int>(size));
  std::copy(elements.begin(), elements.end(), square.view().data);
  auto const linear = sums.as<double>(storage);
  std::vector<double> copy(linear.begin(), linear.end());
  std::vector<std::int64_t> of_rows;
  auto const count = rows.as<std::int64_t>(of_rows);
  return gram(std::move(square), std::move(copy), {count[0], count[1]});
}

}  // namespace detail

/// Writes the sums of a calibration: wholly, or not at all.
///
///     tightkv::save("sums.safetensors", sums);
///
/// Throws `bad_argument` where the file cannot be written.
inline void save(std::filesystem::path const& path, calibration const& sums) {
  auto const extents = detail::extents_of(sums);
  safetensors::contents file;
  file.metadata = {{"format", "tightkv.calibration.1"}, {"model", sums.model}};
  file.tensors.push_back(safetensors::tensor_of<std::int64_t>("shape", {extents.size()}, extents));
  std::deque<std::array<std::int64_t, 2>> rows;  // stays where it is: tensors point into it
  auto const add = [&](std::string const& name, gram const& g) {
    auto const size = static_cast<std::size_t>(g.size());
    auto const& count = rows.emplace_back(std::array{g.rows().added, g.rows().not_finite});
    std::span<double const> const products(g.products().data, size * size);
    file.tensors.push_back(safetensors::tensor_of<double>(name + ".products", {size, size}, products));
    file.tensors.push_back(safetensors::tensor_of<double>(name + ".sums", {size}, g.sums()));
    file.tensors.push_back(safetensors::tensor_of<std::int64_t>(name + ".rows", {2}, count));
  };
  for (std::size_t i = 0; i < sums.layers.size(); ++i) {
    auto const layer = "layers." + std::to_string(i) + '.';
    add(layer + "keys", sums.layers[i].keys);
    add(layer + "values", sums.layers[i].values);
    for (std::size_t h = 0; h < sums.layers[i].queries.size(); ++h) {
      add(layer + "queries." + std::to_string(h), sums.layers[i].queries[h]);
    }
  }
  safetensors::write(path, file);
}

/// Reads what `save` wrote. What model it is about is for the caller to check, with `expect_about`.
///
///     auto const sums = tightkv::load_calibration("sums.safetensors");
///     sums.expect_about("SmolLM2-135M", shape, 30);
///
/// Throws `bad_argument` for any other file: tensors that are missing or have another shape, extents out of range, sums
/// that are not finite or not symmetric.
inline calibration load_calibration(std::filesystem::path const& path) {
  constexpr auto who = "load_calibration";
  auto const bytes = read_file(path);
  auto const file = safetensors::parse(bytes.bytes());
  auto const format = file.metadata.find("format");
  auto const model = file.metadata.find("model");
  if (format == file.metadata.end() || format->second != "tightkv.calibration.1" || model == file.metadata.end()) {
    detail::refuse_path(who, "the file does not hold calibration statistics", path);
  }
  auto const shape = detail::shape_in(file);
  calibration sums(model->second, shape.attention);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    auto const layer = "layers." + std::to_string(i) + '.';
    layer_sums read;
    read.keys = detail::gram_in(file, layer + "keys", std::int64_t{shape.attention.kv_heads} * shape.attention.key_dim);
    read.values =
        detail::gram_in(file, layer + "values", std::int64_t{shape.attention.kv_heads} * shape.attention.value_dim);
    for (int h = 0; h < shape.attention.kv_heads; ++h) {
      auto const name = layer + "queries." + std::to_string(h);
      read.queries.push_back(detail::gram_in(file, name, shape.attention.key_dim));
    }
    sums.layers.push_back(std::move(read));
  }
  return sums;
}

}  // namespace tightkv
