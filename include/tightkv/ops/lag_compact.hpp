// SPDX-License-Identifier: Apache-2.0
/// `lag_compact(ex, view, parameters, scores, plan, planes...)`: scores partitions, keeps the best tokens of each and
/// moves their rows, all at once.
#pragma once

#include <tightkv/core/kernel.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/ops/lag_scores.hpp>
#include <tightkv/ops/select_partitions.hpp>

namespace tightkv {

/// What `lag_scores`, `select_partitions` and `compact` of keys, values and further planes do one after another, with
/// the same scores, the same plan and the same bytes.
///
/// A partition is judged by the next one alone, and its kept rows move left, to where everything has been judged. So
/// one pass will do that goes forward: bytes of all rows once, and of the kept ones once more. Everything is checked
/// before anything moves.
struct lag_compact_fn {
  struct parameters {
    lag_partitions partitions{};
    float value_weight = 1.0F;
    int quota = 0;  // tokens that each judged partition keeps

    lag_scores_fn::parameters scoring() const noexcept { return {partitions, value_weight}; }
    select_partitions_fn::parameters selection() const noexcept { return {partitions, quota}; }
  };

  template <executor E, view_with_keys V, writable_plane... P>
  requires reachable_from<V, E> && writable_plane<decltype(V::keys)> &&(reachable_from<P, E>&&...) void operator()(
      E const& ex, V const& view, parameters const& p, scores_view<E> scores, basic_plan<typename E::memory>& kept,
      P const&... more) const {
    lag_scores_fn::check(view, p.scoring(), scores);
    select_partitions_fn::check<typename E::memory>(scores, p.selection(), kept);
    detail::check_plan("lag_compact", kept, view.keys);
    (detail::check_plan("lag_compact", kept, more), ...);
    kernel<lag_compact_fn, E>::run(ex, view, p, scores, kept, more...);
  }
};
inline constexpr lag_compact_fn lag_compact{};

namespace detail {

/// The definition, for any executor: one step after another.
struct lag_compact_by_steps {
  template <class E, class V, class... P>
  static void run(E const& ex, V const& view, lag_compact_fn::parameters const& p, scores_view<E> scores,
                  basic_plan<typename E::memory>& kept, P const&... more) {
    lag_scores(ex, view, p.scoring(), scores);
    select_partitions(ex, scores, p.selection(), kept);
    if constexpr (kv_plane<decltype(V::values)>) {
      compact(ex, kept, view.keys, view.values, more...);
    } else {
      compact(ex, kept, view.keys, more...);
    }
  }
};

}  // namespace detail

template <class F>
struct kernel<lag_compact_fn, basic_plain_cpu<F>> : detail::lag_compact_by_steps {};

}  // namespace tightkv

#include <tightkv/cpu/lag_compact.hpp>  // the fast kernel
