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

namespace detail {

template <class M, class Memory>
struct state_of_method {
  using type = typename M::state;
};
template <class M, class Memory>
requires requires { typename M::template state_in<Memory>; }
struct state_of_method<M, Memory> {
  using type = typename M::template state_in<Memory>;
};

}  // namespace detail

/// The state of method M for caches in the memory of executor E: `M::state` on the host.
///
///     tightkv::state_of<tightkv::h2o, tightkv::cuda> state;
template <class M, class E>
using state_of = typename detail::state_of_method<M, typename E::memory>::type;

/// `decide` looks at the rows appended since it was last called and says which of all rows stay; once the caller has
/// carried the plan out, `state.apply` follows. The state is small, default-constructed, and the caller's: one per view
/// that is compressed again and again. A fraction is of the tokens there at the first call, unless the caller told the
/// state how many to `expect`. `parameters` shows each parameter to a visitor as (name, member, meaning).
template <class M, class E, class V>
concept method_for = std::copyable<M> && executor<E> &&
    requires(M const& m, E const& ex, V const& view, state_of<M, E>& state, basic_plan<typename E::memory> const& p) {
  { M::info } -> std::convertible_to<method_info>;
  { m.decide(ex, view, state) } -> std::same_as<decision<E>>;
  state.apply(ex, p);
};

/// M works on some view: to check a method where it is defined.
template <class M>
concept method = method_for<M, cpu, detail::any_view>;

}  // namespace tightkv
