// SPDX-License-Identifier: Apache-2.0
/// The sub-commands of `tightkv`. Each adds itself to the command line and runs when chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "method_choice.hpp"

namespace tightkv::cli {

void add_methods(CLI::App& app);
void add_inspect(CLI::App& app);
void add_compress(CLI::App& app);
void add_run(CLI::App& app);
void add_shrink(CLI::App& app);
void add_merge_heads(CLI::App& app);

/// `--method NAME [--set KEY=VALUE]...`, as often as given; a `--set` belongs to the `--method` before it.
void add_method_options(CLI::App& command, std::vector<method_choice>& chosen);

}  // namespace tightkv::cli
