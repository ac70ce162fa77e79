// SPDX-License-Identifier: Apache-2.0
/// How many tokens a head may hold, found once and then kept to.
#pragma once

#include <vector>

#include <tightkv/budgets/budget.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/view/kv_view.hpp>

namespace tightkv {

/// The state of methods that hold a cache at a fixed number of tokens. A fraction is resolved once: against the tokens
/// that are there at the first call with any, the prompt's, or against the number that was announced with `expect`.
class capacity {
 public:
  /// Announces how many tokens will come in all.
  void expect(int tokens) noexcept { expected_ = tokens; }

  /// The number of tokens head h may hold. It grows when more are protected than a fraction allows.
  template <view_with_keys V>
  int of(budget const& b, V const& view, int head, int protected_count) {
    if (fraction_of_.empty()) fraction_of_.assign(static_cast<std::size_t>(view.heads()), 0);
    detail::expects(static_cast<int>(fraction_of_.size()) == view.heads(), "capacity",
                    "the number of heads has changed", "heads", view.heads(), "before", fraction_of_.size());
    int& whole = fraction_of_[static_cast<std::size_t>(head)];
    if (whole == 0) whole = expected_ > 0 ? expected_ : view.tokens(head);
    return limit(b, {.tokens = whole, .protected_count = protected_count, .bytes_per_token = bytes_per_token(view)});
  }

  template <executor E>
  void apply(E const&, basic_plan<typename E::memory> const&) const noexcept {}

 private:
  template <class V>
  static std::ptrdiff_t bytes_per_token(V const& view) {
    std::ptrdiff_t bytes = row_bytes(view.keys);
    if constexpr (kv_plane<decltype(view.values)>) bytes += row_bytes(view.values);
    return bytes * view.heads();
  }

  std::vector<int> fraction_of_;  // tokens per head; 0 until there are any
  int expected_ = 0;
};

}  // namespace tightkv
