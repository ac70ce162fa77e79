// SPDX-License-Identifier: Apache-2.0
/// Ranges of tokens: what is protected, and what is judged.
#pragma once

#include <algorithm>

#include <tightkv/core/error.hpp>

namespace tightkv {

/// Tokens [begin, end) of a head.
struct token_range {
  int begin = 0;
  int end = 0;

  int size() const noexcept { return end - begin; }
  friend bool operator==(token_range const&, token_range const&) = default;
};

/// The first `sink` and the last `recent` tokens are kept, whatever their scores.
struct protected_tokens {
  int sink = 0;
  int recent = 0;

  int count() const noexcept { return sink + recent; }

  /// What is left to judge of `tokens` tokens; empty where everything is protected.
  token_range judged(int tokens) const noexcept {
    if (tokens <= sink || tokens - sink <= recent) return {tokens, tokens};
    return {sink, tokens - recent};
  }

  void check(char const* who) const {
    detail::expects(sink >= 0, who, "sink must not be negative", "sink", sink);
    detail::expects(recent >= 0, who, "recent must not be negative", "recent", recent);
    detail::expects(sink <= most && recent <= most, who, "sink and recent must be below 2^30", "sink", sink, "recent",
                    recent);
  }

 private:
  static constexpr int most = (1 << 30) - 1;  // so that their sum is an int
};

}  // namespace tightkv
