// SPDX-License-Identifier: Apache-2.0
/// Keeps tokens that the newest query attends to, on average over all heads of the layer.
#pragma once

#include <algorithm>

#include <tightkv/ops/mean_of_heads.hpp>
#include <tightkv/ops/window_attention.hpp>
#include <tightkv/scorers/concept.hpp>

namespace tightkv {

/// score = mean over all query heads of the layer of the last query's attention on the token: one set of scores for all
/// KV heads of a layer. Oren et al., TOVA, arXiv:2401.06104.
///
/// Needs keys and the last query; KV heads of one layer must be equally long. Cost: one read of the keys.
struct last_query_attention {
  template <executor E, view_with_queries V>
  requires reachable_from<V, E>
  void score(E const& ex, V const& view, scores_view<E> out) const {
    if (longest(view.keys) == 0) return;
    int const layer_heads = std::max(1, view.heads_per_layer());
    for (int h = 0; h < view.heads(); ++h) {
      int const first = h / layer_heads * layer_heads;
      detail::expects(view.tokens(h) == view.tokens(first), "last_query_attention",
                      "the heads of a layer must be equally long", "tokens", view.tokens(h), "first",
                      view.tokens(first));
    }
    auto attention = make_scores(ex, view.queries.heads(), out.cols);
    window_attention(ex, view, 1, attention.view());
    mean_of_heads(ex, attention.view(), {.from = layer_heads * group_size(view), .into = layer_heads}, out);
  }
};
static_assert(scorer<last_query_attention>);

}  // namespace tightkv
