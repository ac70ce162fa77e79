// SPDX-License-Identifier: Apache-2.0
/// How many tokens a head may keep: a fraction, a number, or what fits into some bytes.
#pragma once

#include <concepts>
#include <variant>

#include <tightkv/budgets/keep_bytes.hpp>
#include <tightkv/budgets/keep_ratio.hpp>
#include <tightkv/budgets/keep_tokens.hpp>

namespace tightkv {

/// A budget turns the size of a head into the number of its tokens that stay; it throws `bad_argument` if it cannot.
/// `limit` is what the head may hold while it grows; `tokens`, at most what there is, what it keeps of it now.
template <class B>
concept budget_policy = std::copyable<B> && requires(B const& b, cache_size const& c) {
  b.check();
  { b.limit(c) } -> std::same_as<int>;
  { b.tokens(c) } -> std::same_as<int>;
};
static_assert(budget_policy<keep_ratio> && budget_policy<keep_tokens> && budget_policy<keep_bytes>);

/// Any of them, as methods hold it: `tightkv::l2_norm{.budget = tightkv::keep_tokens{1024}}`.
using budget = std::variant<keep_ratio, keep_tokens, keep_bytes>;

inline void check(budget const& b) {
  std::visit([](auto const& policy) { policy.check(); }, b);
}
inline int limit(budget const& b, cache_size const& c) {
  return std::visit([&](auto const& policy) { return policy.limit(c); }, b);
}
inline int tokens(budget const& b, cache_size const& c) {
  return std::visit([&](auto const& policy) { return policy.tokens(c); }, b);
}

}  // namespace tightkv
