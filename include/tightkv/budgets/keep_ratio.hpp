// SPDX-License-Identifier: Apache-2.0
/// Keeps a fraction of the tokens.
#pragma once

#include <algorithm>

#include <tightkv/budgets/cache_size.hpp>
#include <tightkv/core/error.hpp>

namespace tightkv {

/// trunc(fraction * tokens) tokens, the product taken in double: 0.29 of 100 is 28. Never fewer than are protected.
///
/// A type, so that 0.25 cannot be read as "drop a quarter". Throws unless the fraction is in (0, 1].
struct keep_ratio {
  double fraction = 0.5;

  void check() const {
    detail::expects(fraction > 0.0 && fraction <= 1.0, "keep_ratio", "must be in (0, 1]", "keep_ratio", fraction);
  }
  /// What a cache may grow to, if `c.tokens` is what the fraction is of.
  int limit(cache_size const& c) const {
    check();
    return std::max(c.protected_count, part_of(c.tokens));
  }
  int tokens(cache_size const& c) const { return std::min(c.tokens, limit(c)); }
  int part_of(int count) const noexcept { return static_cast<int>(fraction * static_cast<double>(count)); }
};

}  // namespace tightkv
