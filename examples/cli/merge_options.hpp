// SPDX-License-Identifier: Apache-2.0
/// What `tightkv merge-heads` was asked.
#pragma once

#include <string>

namespace tightkv::cli {

struct merge_options {
  std::string input;
  std::string output;
  std::string calibrate;
  int kv_heads = 0;
  std::string keys = "alternating";
  std::string values = "output";
  int steps = 12;  ///< of alternating keys
  std::string groups = "adjacent";
  std::string refit = "residual";
  double ridge = 0.03;  ///< of the refit; 0: each layer's best on windows that were not fitted
  std::string type = "f16";
  int windows = 12;  ///< of the calibration text
  int window_tokens = 1024;
  int skip = 0;  ///< tokens at the beginning of each window that do not count
  int threads = 1;
  bool json = false;
};

/// Whether the keys take matrices at run time, which only our engine applies.
inline bool merges_at_run_time(merge_options const& asked) {
  return asked.keys == "post-rope" || asked.keys == "layer-wide" || asked.keys == "kq-svd";
}

}  // namespace tightkv::cli
