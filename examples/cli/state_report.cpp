// SPDX-License-Identifier: Apache-2.0
#include "state_report.hpp"

#include <iostream>
#include <string>

#include <tightkv/interop/llama_state.hpp>

namespace tightkv::cli {
namespace {

using nlohmann::ordered_json;

/// Rows of one kind; layers may differ in types and widths.
ordered_json describe(llama_state::stream const& s, llama_state::tensor llama_state::layer::*which) {
  ordered_json kinds = ordered_json::array();
  std::size_t bytes = 0;
  for (auto const& l : s.layers) {
    auto const& t = l.*which;
    ordered_json kind{{"type", gguf::name_of(t.type)},
                      {"width", t.width},
                      {"row_bytes", t.row_bytes()},
                      {"transposed", t.transposed}};
    if (kinds.empty() || kinds.back() != kind) kinds.push_back(std::move(kind));
    bytes += t.bytes.size();
  }
  return {{"rows", kinds}, {"bytes", bytes}};
}

ordered_json describe(llama_state::section const& section) {
  ordered_json streams = ordered_json::array();
  for (auto const& s : section.streams) {
    ordered_json described{{"tokens", s.tokens()}};
    if (s.tokens() > 0) {
      described["positions"] = {s.first, s.last};
      described["layers"] = s.layers.size();
      described["keys"] = describe(s, &llama_state::layer::keys);
      described["values"] = describe(s, &llama_state::layer::values);
    }
    streams.push_back(std::move(described));
  }
  return {{"bytes", section.bytes.size()}, {"streams", streams}};
}

void print_section(char const* name, ordered_json const& section) {
  for (auto const& s : section["streams"]) {
    std::cout << "  " << name << ": " << s["tokens"] << " tokens";
    if (s.contains("layers")) {
      std::cout << " at positions " << s["positions"][0] << " to " << s["positions"][1] << ", " << s["layers"]
                << " layers\n";
      for (char const* kind : {"keys", "values"}) {
        std::cout << "    " << kind << "  ";
        for (auto const& r : s[kind]["rows"]) {
          std::cout << r["type"].get<std::string>() << " rows of " << r["width"] << " (" << r["row_bytes"] << " bytes"
                    << (r["transposed"].get<bool>() ? ", transposed), " : "), ");
        }
        std::cout << s[kind]["bytes"] << " bytes in all\n";
      }
    } else {
      std::cout << '\n';
    }
  }
}

}  // namespace

ordered_json describe_state(std::span<std::byte const> bytes) {
  auto const state = llama_state::parse(bytes);
  bool whole = true;
  for (auto const& s : state.base.streams) whole = whole && s.is_whole();
  ordered_json described{{"kind", "llama.cpp sequence state"},
                         {"file_bytes", bytes.size()},
                         {"form", state.form == llama_state::form::file ? "file" : "buffer"}};
  if (state.form == llama_state::form::file) {
    described["version"] = state.version;
    described["listed_tokens"] = state.listed_tokens;
  }
  described["whole"] = whole;
  described["base"] = describe(state.base);
  if (!state.window.streams.empty()) described["window"] = describe(state.window);
  return described;
}

void print_state(ordered_json const& d) {
  std::cout << d["kind"].get<std::string>() << ", " << d["form"].get<std::string>();
  if (d.contains("version")) std::cout << " version " << d["version"];
  std::cout << ", " << d["file_bytes"] << " bytes";
  if (d.contains("listed_tokens")) std::cout << ", a list of " << d["listed_tokens"] << " tokens";
  std::cout << '\n';
  print_section("stream", d["base"]);
  if (d.contains("window")) print_section("layers with a sliding window", d["window"]);
  if (!d["whole"].get<bool>()) std::cout << "  tokens are missing: it was shrunk, or some were removed\n";
}

}  // namespace tightkv::cli
