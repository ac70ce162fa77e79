// SPDX-License-Identifier: Apache-2.0
/// How many tokens a head may hold, found once and then kept to.
#pragma once

#include <vector>

#include <tightkv/budgets/budget.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/view/kv_view.hpp>

namespace tightkv {

/// The state of methods that hold a cache at a fixed number of tokens. A fraction, or a number of bytes, is resolved at
/// the first call, against the tokens that are there: the prompt's. Until the cache is larger than that, nothing is
/// due.
class capacity {
 public:
  /// The number of tokens head h may hold. It grows when more are protected than a fraction allows.
  template <view_with_keys V>
  int of(budget const& b, V const& view, int head, int protected_count) {
    if (tokens_.empty()) tokens_.assign(static_cast<std::size_t>(view.heads()), unresolved);
    detail::expects(static_cast<int>(tokens_.size()) == view.heads(), "capacity", "the number of heads has changed",
                    "heads", view.heads(), "before", tokens_.size());
    int const now = view.tokens(head);
    int const allowed =
        tokens(b, {.tokens = now, .protected_count = protected_count, .bytes_per_token = bytes_per_token(view)});
    if (auto const* fixed = std::get_if<keep_tokens>(&b)) return fixed->count;
    int& limit = tokens_[static_cast<std::size_t>(head)];
    if (limit == unresolved) limit = allowed;
    return limit > protected_count ? limit : protected_count;
  }

  template <executor E>
  void apply(E const&, plan const&) const noexcept {}

 private:
  static constexpr int unresolved = -1;

  template <class V>
  static std::ptrdiff_t bytes_per_token(V const& view) {
    std::ptrdiff_t bytes = row_bytes(view.keys);
    if constexpr (kv_plane<decltype(view.values)>) bytes += row_bytes(view.values);
    return bytes * view.heads();
  }

  std::vector<int> tokens_;  // per head
};

}  // namespace tightkv
