// SPDX-License-Identifier: Apache-2.0
/// Keeps tokens, and their neighbours, that the last queries attend to.
#pragma once

#include <algorithm>
#include <memory_resource>
#include <vector>

#include <tightkv/ops/mean_of_heads.hpp>
#include <tightkv/ops/pool_tokens.hpp>
#include <tightkv/ops/window_attention.hpp>
#include <tightkv/scorers/concept.hpp>

namespace tightkv {

/// score = mean over the GQA group of pool over neighbouring tokens of mean over the last `window` queries of the
/// attention on the token. The window's own tokens are not judged. Li et al., SnapKV, arXiv:2404.14469.
///
///     tightkv::window_votes{.window = 64, .kernel = 5}.score(ex, observed_view, scores.view());
///
/// Needs keys and the last `window` queries. Cost: window x query heads x tokens x head_dim multiply-adds.
struct window_votes {
  int window = 64;
  int kernel = 5;
  tightkv::pooling pooling = tightkv::pooling::average;

  template <executor E, view_with_queries V>
  requires reachable_from<V, E>
  void score(E const& ex, V const& view, scores_view<E> out) const {
    if (longest(view.keys) == 0) return;
    auto votes = make_scores(ex, view.queries.heads(), out.cols);
    window_attention(ex, view, window, votes.view());
    std::pmr::vector<int> before_window(ex.resource());
    for (int q = 0; q < view.queries.heads(); ++q) {
      before_window.push_back(std::max(0, view.tokens(q / group_size(view)) - window));
    }
    pool_tokens(ex, votes.view(), {.lengths = before_window, .width = kernel, .pooling = pooling});
    mean_of_heads(ex, votes.view(), {.from = group_size(view), .into = 1}, out);
  }
};
static_assert(scorer<window_votes>);

}  // namespace tightkv
