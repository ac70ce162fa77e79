// SPDX-License-Identifier: Apache-2.0
/// `tightkv_llama generate`: more tokens than the cache has cells, in bounded memory.
#pragma once

#include <string>
#include <vector>

#include "routes.hpp"

namespace tightkv::llama {

struct generate_options {
  session_options engine;
  std::string prompt;
  int tokens = 0;
  int every = 256;  ///< tokens from one compression to the next
  std::string through = "a";
  std::vector<cli::method_choice> methods;
};

/// What came of it.
struct generated {
  int prompt_tokens = 0;
  int next_position = 0;
  int most_rows = 0;  ///< in the cache at any time
  int rows = 0;       ///< at the end
  int compressions = 0;
  double compress_ms = 0;
  double milliseconds = 0;
  std::string text;
};

generated generate(generate_options const& asked);

}  // namespace tightkv::llama
