// SPDX-License-Identifier: Apache-2.0
/// A scorer says which tokens matter: one number per (head, token), higher means keep.
#pragma once

#include <concepts>

#include <tightkv/core/executor.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/view/kv_view.hpp>

namespace tightkv {

/// S can score a view of type V where E runs. What it needs of the view is the constraint on its `score`.
template <class S, class E, class V>
concept scorer_for = executor<E> && requires(S const& s, E const& ex, V const& view, scores_view<E> out) {
  s.score(ex, view, out);
};

namespace detail {
using rows_of_float = plane<float const>;
using any_view = kv_view<rows_of_float, rows_of_float, rows_of_float>;  // an archetype that has everything
}  // namespace detail

/// S can score some view: to check a scorer where it is defined.
template <class S>
concept scorer = scorer_for<S, cpu, detail::any_view>;

}  // namespace tightkv
