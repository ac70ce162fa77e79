// SPDX-License-Identifier: Apache-2.0
/// Paths a user gave.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include <tightkv/core/error.hpp>

namespace tightkv::cli {

/// Refuses an output that is the input, also under another name.
inline void check_paths(std::string const& input, std::string const& output) {
  std::error_code ignored;
  bool const same = input == output || std::filesystem::equivalent(input, output, ignored);
  detail::expects(!same, "OUT", "must not be the input file", "path", output);
}

}  // namespace tightkv::cli
