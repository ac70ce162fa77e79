// SPDX-License-Identifier: Apache-2.0
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "commands.hpp"

namespace tightkv::cli {
namespace {

using nlohmann::ordered_json;

template <class T>
ordered_json as_json(T const& value) {
  return value;
}
ordered_json as_json(float value) { return static_cast<double>(value); }
ordered_json as_json(keep_ratio const& value) { return value.fraction; }
ordered_json as_json(budget const& value) { return std::get<keep_ratio>(value).fraction; }
ordered_json as_json(std::optional<int> const& value) { return value ? ordered_json(*value) : ordered_json(); }
ordered_json as_json(pooling value) { return value == pooling::average ? "avg" : "max"; }

ordered_json description() {
  ordered_json methods = ordered_json::array();
  for_each_method([&](auto const& m) {
    ordered_json parameters = ordered_json::array();
    m.parameters(m, [&](std::string_view name, auto const& member, std::string_view meaning) {
      parameters.push_back({{"name", name}, {"default", as_json(member)}, {"meaning", meaning}});
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(member)>, budget>) {
        parameters.push_back(
            {{"name", "tokens"}, {"default", nullptr}, {"meaning", "number of tokens kept, instead of keep"}});
      }
    });
    parameters.push_back({{"name", "skip_layers"}, {"default", ""}, {"meaning", "layers left whole, a comma list"}});
    methods.push_back({{"name", m.info.name},
                       {"summary", m.info.summary},
                       {"needs", m.info.needs},
                       {"paper", m.info.paper},
                       {"paper_defaults", m.info.paper_defaults},
                       {"parameters", parameters}});
  });
  return {{"methods", methods}};
}

void print(ordered_json const& described) {
  for (auto const& m : described["methods"]) {
    std::cout << m["name"].get<std::string>() << "\n    " << m["summary"].get<std::string>() << '\n';
    for (char const* field : {"needs", "paper", "paper_defaults"}) {
      std::string label = field;
      std::replace(label.begin(), label.end(), '_', ' ');
      std::cout << "    " << std::left << std::setw(16) << label + ":" << m[field].get<std::string>() << '\n';
    }
    for (auto const& p : m["parameters"]) {
      auto const& value = p["default"];
      std::string const shown = value.is_null() || value == "" ? ""
                                : value.is_string()            ? value.get<std::string>()
                                                               : value.dump();
      std::cout << "      " << std::setw(14) << p["name"].get<std::string>() << std::setw(8) << shown
                << p["meaning"].get<std::string>() << '\n';
    }
    std::cout << '\n';
  }
}

}  // namespace

void add_methods(CLI::App& app) {
  auto* const command = app.add_subcommand("methods", "List the methods, their parameters, defaults and papers.");
  auto const json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Print one JSON object");
  command->callback([json] {
    auto const described = description();
    if (*json) {
      std::cout << described.dump() << '\n';
    } else {
      print(described);
    }
  });
}

}  // namespace tightkv::cli
