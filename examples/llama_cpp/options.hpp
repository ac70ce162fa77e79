// SPDX-License-Identifier: Apache-2.0
/// The sub-commands of `tightkv_llama`, and what they share.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "method_choice.hpp"
#include "session.hpp"

namespace tightkv::llama {

void add_compare(CLI::App& app);
void add_generate(CLI::App& app);
void add_check(CLI::App& app);

/// `--model`, `--threads`, `--kv-type` and `--no-flash-attention`.
void add_engine_options(CLI::App& command, session_options& engine);

}  // namespace tightkv::llama
