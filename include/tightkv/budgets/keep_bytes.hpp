// SPDX-License-Identifier: Apache-2.0
/// Keeps as many tokens as fit into a number of bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include <tightkv/budgets/cache_size.hpp>
#include <tightkv/core/error.hpp>

namespace tightkv {

/// As many tokens in every head as fit into `bytes` for keys and values of all heads of the view together.
///
/// Throws unless the protected tokens fit.
struct keep_bytes {
  std::ptrdiff_t bytes = 0;

  void check() const { detail::expects(bytes >= 1, "keep_bytes", "must be at least 1", "keep_bytes", bytes); }
  int tokens(cache_size const& c) const { return std::min(c.tokens, limit(c)); }
  int limit(cache_size const& c) const {
    check();
    detail::expects(c.bytes_per_token >= 1, "keep_bytes", "needs the bytes of a token", "bytes_per_token",
                    c.bytes_per_token);
    std::ptrdiff_t const fit = bytes / c.bytes_per_token;
    detail::expects(fit >= c.protected_count, "keep_bytes", "the protected tokens must fit", "tokens that fit", fit,
                    "protected", c.protected_count);
    return static_cast<int>(std::min<std::ptrdiff_t>(std::numeric_limits<int>::max(), fit));
  }
};

}  // namespace tightkv
