// SPDX-License-Identifier: Apache-2.0
/// The two calls an engine makes: `decide`, for a plan to carry out itself, and `compress`, which does it all.
#pragma once

#include <tightkv/methods/concept.hpp>
#include <tightkv/ops/compact.hpp>

namespace tightkv {

/// What a method would keep of this cache, seen for the first time.
///
///     tightkv::plan const plan = tightkv::decide(tightkv::cpu{}, tightkv::key_diff{}, view).plan;
template <executor E, class M, class V>
requires method_for<M, E, V> decision<E> decide(E const& ex, M const& m, V const& view) {
  state_of<M, E> state;
  return m.decide(ex, view, state);
}

/// A method that decides and compacts in one pass.
template <class M, class E, class V, class... More>
concept compacts_as_it_decides = requires(M const& m, E const& ex, V const& view, state_of<M, E>& state,
                                          More const&... more) {
  { m.decide_and_compact(ex, view, state, more...) } -> std::same_as<decision<E>>;
};

/// Decides, compacts keys, values and any further planes (positions, scales, an engine's own), and brings the state up
/// to date. Call it whenever rows were appended: where nothing is due nothing moves. Returns what was done; its plan
/// has the new lengths. On `bad_argument` the cache is as it was.
///
///     auto const done = tightkv::compress(ex, method, view, state, positions);
///     cache.tokens = done.plan.after(0);
template <executor E, class M, class V, writable_plane... More>
requires method_for<M, E, V> && writable_plane<decltype(V::keys)> decision<E> compress(E const& ex, M const& m,
                                                                                       V const& view,
                                                                                       state_of<M, E>& state,
                                                                                       More const&... more) {
  auto const done = [&] {
    if constexpr (compacts_as_it_decides<M, E, V, More...>) {
      return m.decide_and_compact(ex, view, state, more...);
    } else {
      auto d = m.decide(ex, view, state);
      if constexpr (kv_plane<decltype(V::values)>) {
        compact(ex, d.plan, view.keys, view.values, more...);
      } else {
        compact(ex, d.plan, view.keys, more...);
      }
      return d;
    }
  };
  decision<E> d = done();
  state.apply(ex, d.plan);
  return d;
}

}  // namespace tightkv
