// SPDX-License-Identifier: Apache-2.0
/// `tightkv_llama check`: what compaction may rest on, held against what llama.cpp itself computes.
#pragma once

#include <string>

namespace tightkv::llama {

struct check_options {
  std::string model;
  std::string text;
  int threads = 2;
};

/// Prints a table of differences between logits, then what else was tried. Throws `bad_argument` at the first that is
/// larger than it may be.
void check(check_options const& asked);

}  // namespace tightkv::llama
