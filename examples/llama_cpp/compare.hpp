// SPDX-License-Identifier: Apache-2.0
/// `tightkv_llama compare`: a context's cache compressed by several methods, and what each does to what follows.
#pragma once

#include <string>
#include <vector>

#include "routes.hpp"

namespace tightkv::llama {

struct compare_options {
  session_options engine;
  std::string context;
  std::string continuation;
  int score_last = 0;  ///< 0: all but the first
  int decode = 0;      ///< then generate so many tokens, for the speed
  std::string through = "a";
  std::vector<cli::method_choice> methods;
  std::string plans;  ///< what `tightkv run --indices --json` printed: its plans are carried out too
};

/// Prints one JSON object.
void compare(compare_options const& asked);

}  // namespace tightkv::llama
