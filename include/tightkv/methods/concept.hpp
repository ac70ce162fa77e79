// SPDX-License-Identifier: Apache-2.0
/// A method is a published system: its parameters, and how it decides which tokens stay.
#pragma once

#include <concepts>
#include <string_view>

#include <tightkv/methods/decision.hpp>
#include <tightkv/scorers/concept.hpp>

namespace tightkv {

/// What a method says of itself.
struct method_info {
  std::string_view name;
  std::string_view summary;
  std::string_view needs;
  std::string_view paper;
  std::string_view paper_defaults;
};

/// `decide` looks at the rows appended since it was last called and says which of all rows stay; once the caller has
/// carried the plan out, `state.apply` follows. The state is small, default-constructed, and the caller's: one per view
/// that is compressed again and again. A fraction is of the tokens there at the first call, unless the caller told the
/// state how many to `expect`. `parameters` shows each parameter to a visitor as (name, member, meaning).
template <class M, class E, class V>
concept method_for = std::copyable<M> && executor<E> &&
    requires(M const& m, E const& ex, V const& view, typename M::state& state, plan const& p) {
  { M::info } -> std::convertible_to<method_info>;
  { m.decide(ex, view, state) } -> std::same_as<decision<E>>;
  state.apply(ex, p);
};

/// M works on some view: to check a method where it is defined.
template <class M>
concept method = method_for<M, cpu, detail::any_view>;

}  // namespace tightkv
