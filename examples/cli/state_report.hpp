// SPDX-License-Identifier: Apache-2.0
/// What `tightkv inspect` says of a sequence state of llama.cpp.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>

namespace tightkv::cli {

nlohmann::ordered_json describe_state(std::span<std::byte const> bytes);
void print_state(nlohmann::ordered_json const& described);

}  // namespace tightkv::cli
