// SPDX-License-Identifier: Apache-2.0
/// Keeps tokens whose keys are short.
#pragma once

#include <tightkv/ops/row_norms.hpp>
#include <tightkv/scorers/concept.hpp>

namespace tightkv {

/// score = -||k||: a short key tends to draw attention from many queries. Devoto et al., EMNLP 2024, arXiv:2406.11430.
///
///     tightkv::key_norm{}.score(ex, view, scores.view());
///
/// Needs keys. Cost: one read of the keys.
struct key_norm {
  template <executor E, view_with_keys V>
  requires reachable_from<V, E>
  void score(E const& ex, V const& view, scores_view<E> out) const { row_norms(ex, view.keys, -1.0F, out); }
};
static_assert(scorer<key_norm>);

}  // namespace tightkv
