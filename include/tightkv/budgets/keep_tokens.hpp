// SPDX-License-Identifier: Apache-2.0
/// Keeps a number of tokens.
#pragma once

#include <algorithm>

#include <tightkv/budgets/cache_size.hpp>
#include <tightkv/core/error.hpp>

namespace tightkv {

/// That many tokens per head, protected ones included; all of them if there are fewer.
///
/// Throws unless it is at least 1 and at least the number of protected tokens.
struct keep_tokens {
  int count = 0;

  void check() const { detail::expects(count >= 1, "keep_tokens", "must be at least 1", "keep_tokens", count); }
  int tokens(cache_size const& c) const { return std::min(c.tokens, limit(c)); }
  int limit(cache_size const& c) const {
    check();
    detail::expects(count >= c.protected_count, "keep_tokens", "must be at least the number of protected tokens",
                    "keep_tokens", count, "protected", c.protected_count);
    return count;
  }
};

}  // namespace tightkv
