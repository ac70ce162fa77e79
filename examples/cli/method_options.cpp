// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"

namespace tightkv::cli {

void add_method_options(CLI::App& command, std::vector<method_choice>& chosen) {
  command
      .add_option_function<std::string>(
          "--method", [&chosen](std::string const& name) { chosen.emplace_back(name); },
          "Method, as `tightkv methods` lists them")
      ->trigger_on_parse()
      ->type_name("NAME");
  command
      .add_option_function<std::string>(
          "--set",
          [&chosen](std::string const& assignment) {
            detail::expects(!chosen.empty(), "--set", "belongs after a --method", "set", assignment);
            chosen.back().set(assignment);
          },
          "Parameter of the method before it")
      ->trigger_on_parse()
      ->type_name("KEY=VALUE");
}

}  // namespace tightkv::cli
