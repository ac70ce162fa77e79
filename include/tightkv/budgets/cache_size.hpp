// SPDX-License-Identifier: Apache-2.0
/// What a budget is a part of.
#pragma once

#include <cstddef>

namespace tightkv {

/// One head of a cache, as a budget sees it.
struct cache_size {
  int tokens = 0;                      // in this head now
  int protected_count = 0;             // of which this many may not be evicted
  std::ptrdiff_t bytes_per_token = 0;  // of all heads that share the budget, keys and values together
};

}  // namespace tightkv
