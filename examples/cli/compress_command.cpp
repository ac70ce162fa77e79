// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include <tightkv/interop/safetensors.hpp>

#include "commands.hpp"
#include "executor_choice.hpp"
#include "paths.hpp"
#include "thread_pool.hpp"

namespace tightkv::cli {
namespace {

struct options {
  std::string input;
  std::string output;
  std::vector<method_choice> methods;
  int chunk = 0;  // 0: everything at once
  std::string executor{default_executor};
  int threads = 1;
  bool json = false;
};

/// Queries are refused before anything runs, also where they would not be needed in the end.
void check_queries(method_choice const& choice, dumped_layer const& layer) {
  int const needed = std::min(choice.query_window(), layer.tokens);
  if (needed <= 0) return;
  detail::expects(layer.queries != nullptr, choice.name(), "needs a tensor of queries", "missing",
                  layer.prefix + "queries");
  detail::expects(layer.window >= needed, choice.name(), "needs the queries of a longer window", "queries",
                  layer.window, "window", needed);
}

/// The tensors of one compressed layer.
void append_tensors(dumped_layer const& layer, compressed_layer const& c, std::vector<safetensors::tensor>& out) {
  auto const heads = static_cast<std::size_t>(layer.heads);
  auto const rows = static_cast<std::size_t>(c.rows);
  std::vector<std::size_t> const shape{heads, rows, static_cast<std::size_t>(layer.head_dim)};
  auto const name = [&](char const* field) { return layer.prefix + field; };
  out.push_back({name("keys"), layer.keys->dtype, shape, c.keys});
  out.push_back({name("values"), layer.values->dtype, shape, c.values});
  out.push_back(safetensors::tensor_of<std::int32_t>(name("kept"), {heads, rows}, c.kept));
  if (c.has_scores) {
    out.push_back(
        safetensors::tensor_of<float>(name("scores"), {heads, static_cast<std::size_t>(layer.tokens)}, c.scores));
  }
  if (std::any_of(c.lengths.begin(), c.lengths.end(), [&](int length) { return length != c.rows; })) {
    out.push_back(safetensors::tensor_of<std::int32_t>(name("lengths"), {heads}, c.lengths));
  }
}

nlohmann::ordered_json describe(dumped_layer const& layer, compressed_layer const& c) {
  return {{"layer", layer.index},
          {"kv_heads", layer.heads},
          {"head_dim", layer.head_dim},
          {"dtype", name_of(layer.keys->dtype)},
          {"tokens", layer.tokens},
          {"kept", c.rows},
          {"kv_bytes_before", layer.keys->bytes.size() + layer.values->bytes.size()},
          {"kv_bytes_after", c.keys.size() + c.values.size()},
          {"nan_scores", c.nan_scores},
          {"compress_ms", c.seconds * 1e3}};
}

void print(nlohmann::ordered_json const& report) {
  std::cout << report["method"].get<std::string>() << '\n'
            << " layer  kv heads  tokens    kept   KV bytes before     after      ms\n"
            << std::fixed << std::setprecision(2);
  for (auto const& l : report["layers"]) {
    std::cout << std::setw(6) << l["layer"].get<int>() << std::setw(10) << l["kv_heads"].get<int>() << std::setw(8)
              << l["tokens"].get<int>() << std::setw(8) << l["kept"].get<int>() << std::setw(18)
              << l["kv_bytes_before"].get<std::size_t>() << std::setw(10) << l["kv_bytes_after"].get<std::size_t>()
              << std::setw(8) << l["compress_ms"].get<double>() << '\n';
    if (auto const nans = l["nan_scores"].get<std::ptrdiff_t>(); nans > 0) {
      std::cout << "        " << nans << " scores are not a number; those rows rank last\n";
    }
  }
}

void run(options const& given) {
  check_paths(given.input, given.output);
  detail::expects(given.methods.size() == 1, "--method", "must be given once", "given", given.methods.size());
  engine::thread_pool pool(given.threads);
  auto const compress = compressor_named(given.executor, pool);
  auto const& choice = given.methods.front();
  auto const bytes = read_file(given.input);
  auto const file = safetensors::parse(bytes.bytes());
  auto const layers = layers_of(file);
  choice.check_layers(layers.back().index + 1);
  for (auto const& layer : layers) {
    if (!choice.skips(layer.index)) check_queries(choice, layer);
  }

  std::vector<compressed_layer> compressed;
  nlohmann::ordered_json report{{"method", choice.name()}, {"layers", nlohmann::ordered_json::array()}};
  for (auto const& layer : layers) {
    int const all = std::max(1, layer.tokens);
    int const chunk = given.chunk == 0 ? all : std::min(given.chunk, all);
    compressed.push_back(choice.skips(layer.index) ? keep_layer(layer) : compress(choice, layer, chunk));
    report["layers"].push_back(describe(layer, compressed.back()));
  }

  bool const has_scores = std::ranges::any_of(compressed, &compressed_layer::has_scores);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (compressed[i].has_scores || !has_scores) continue;
    auto const size = static_cast<std::size_t>(layers[i].heads) * static_cast<std::size_t>(layers[i].tokens);
    compressed[i].scores.assign(size, unjudged);  // a layer left whole was never judged
    compressed[i].has_scores = true;
  }

  safetensors::contents out;
  out.metadata = {{"tightkv.method", std::string(choice.name())}};
  for (std::size_t i = 0; i < layers.size(); ++i) append_tensors(layers[i], compressed[i], out.tensors);
  safetensors::write(given.output, out);
  if (given.json) {
    std::cout << report.dump() << '\n';
  } else {
    print(report);
  }
}

}  // namespace

void add_compress(CLI::App& app) {
  auto const given = std::make_shared<options>();
  auto* const command = app.add_subcommand("compress", "Compress a dump of a KV cache.");
  command->add_option("IN", given->input, "safetensors with keys and values [kv_heads, tokens, head_dim]")->required();
  command->add_option("OUT", given->output, "safetensors to write")->required();
  add_method_options(*command, given->methods);
  command->add_option("--chunk", given->chunk, "Feed so many tokens at a time")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  command->add_option("--executor", given->executor, "cpu, plain or cuda")
      ->check(CLI::IsMember({"cpu", "plain", "cuda"}));
  command->add_option("--threads", given->threads, "Threads")->check(CLI::Range(1, 1024));
  command->add_flag("--json", given->json, "Print one JSON object");
  command->callback([given] { run(*given); });
}

}  // namespace tightkv::cli
