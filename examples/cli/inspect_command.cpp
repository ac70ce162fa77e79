// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include <tightkv/interop/gguf.hpp>
#include <tightkv/interop/llama_state_reader.hpp>
#include <tightkv/interop/safetensors.hpp>

#include "commands.hpp"
#include "mapped_file.hpp"
#include "state_report.hpp"

namespace tightkv::cli {
namespace {

using nlohmann::ordered_json;

template <class Extents>
std::string shape_text(Extents const& extents) {
  std::ostringstream out;
  char const* separator = "[";
  for (auto const extent : extents) {
    out << separator << extent;
    separator = ", ";
  }
  out << (extents.empty() ? "[]" : "]");
  return out.str();
}

ordered_json describe_safetensors(std::span<std::byte const> bytes) {
  auto const file = safetensors::parse(bytes);
  ordered_json tensors = ordered_json::array();
  std::size_t total = 0;
  for (auto const& t : file.tensors) {
    tensors.push_back({{"name", t.name}, {"dtype", name_of(t.dtype)}, {"shape", t.shape}, {"bytes", t.bytes.size()}});
    total += t.bytes.size();
  }
  return {{"kind", "safetensors"},
          {"file_bytes", bytes.size()},
          {"tensor_bytes", total},
          {"metadata", file.metadata},
          {"tensors", tensors}};
}

ordered_json describe_gguf(std::span<std::byte const> bytes) {
  gguf::file const file(bytes);
  ordered_json tensors = ordered_json::array();
  std::size_t total = 0;
  for (auto const& t : file.tensors()) {
    std::vector<std::uint64_t> shape(t.shape.begin(), t.shape.end());
    tensors.push_back({{"name", t.name}, {"dtype", name_of(t.type)}, {"shape", shape}, {"bytes", t.data.size()}});
    total += t.data.size();
  }
  ordered_json metadata = ordered_json::object();
  for (char const* key : {"general.architecture", "general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre"}) {
    if (auto const* const value = file.find(key)) {
      if (auto const* const text = std::get_if<std::string_view>(value)) metadata[key] = *text;
    }
  }
  return {{"kind", "gguf"},
          {"file_bytes", bytes.size()},
          {"tensor_bytes", total},
          {"metadata", metadata},
          {"tensors", tensors}};
}

void print(ordered_json const& d) {
  std::cout << d["kind"].get<std::string>() << ", " << d["file_bytes"] << " bytes, " << d["tensors"].size()
            << " tensors of " << d["tensor_bytes"] << " bytes\n";
  for (auto const& [key, value] : d["metadata"].items())
    std::cout << "  " << key << " = " << value.get<std::string>() << '\n';
  for (auto const& t : d["tensors"]) {
    std::cout << "  " << t["name"].get<std::string>() << "  " << t["dtype"].get<std::string>() << ' '
              << shape_text(t["shape"].get<std::vector<std::uint64_t>>()) << "  " << t["bytes"] << " bytes\n";
  }
}

bool starts_with(std::span<std::byte const> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

}  // namespace

void add_inspect(CLI::App& app) {
  struct options {
    std::string file;
    bool json = false;
  };
  auto const given = std::make_shared<options>();
  auto* const command = app.add_subcommand("inspect", "Say what a file is: its kind, shapes, dtypes and bytes.");
  command->add_option("FILE", given->file, "A safetensors dump, a GGUF model or a sequence state of llama.cpp")
      ->required();
  command->add_flag("--json", given->json, "Print one JSON object");
  command->callback([given] {
    engine::mapped_file const file(given->file);
    bool const is_state = llama_state::is_state(file.bytes());
    auto const described = is_state                            ? describe_state(file.bytes())
                           : starts_with(file.bytes(), "GGUF") ? describe_gguf(file.bytes())
                                                               : describe_safetensors(file.bytes());
    if (given->json) {
      std::cout << described.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << '\n';
    } else {
      is_state ? print_state(described) : print(described);
    }
  });
}

}  // namespace tightkv::cli
