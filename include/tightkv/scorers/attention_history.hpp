// SPDX-License-Identifier: Apache-2.0
/// Keeps tokens that have received much attention so far: the accumulated scores of H2O, carried along with the rows.
#pragma once

#include <algorithm>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/ops/attention_mass.hpp>
#include <tightkv/ops/checks.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/scorers/concept.hpp>
#include <tightkv/view/layouts.hpp>

namespace tightkv {

/// How accumulated attention is compared: as a sum, or divided by the number of queries that could see the token, which
/// takes away the old tokens' head start.
enum class attention_average { sum, per_visible_query };

/// The attention each row of a cache has received, summed over its GQA group and over the queries observed so far.
/// Caller-owned state of one (layer, sequence), or of a batch.
///
///     history.observe(ex, view);        // after rows were appended; `view.queries` holds at least those rows' queries
///     history.score(ex, view, out);     // it is a scorer
///     history.apply(ex, plan);          // after the cache was compacted
///
/// Zhang et al., H2O, NeurIPS 2023, arXiv:2306.14048. Sums are fp32: an increment below 2^-24 of a row's sum is lost.
class attention_history {
 public:
  attention_average average = attention_average::sum;

  /// Adds the attention of the queries of all rows appended since the last call, and of no other.
  template <executor E, view_with_queries V>
  requires reachable_from<V, E>
  void observe(E const& ex, V const& view) {
    if (rows_.empty()) rows_.assign(static_cast<std::size_t>(view.heads()), 0);
    detail::expects(static_cast<int>(rows_.size()) == view.heads(), "attention_history",
                    "the number of heads has changed", "heads", view.heads(), "before", rows_.size());
    std::pmr::vector<int> fresh(ex.resource());
    for (int h = 0; h < view.heads(); ++h) {
      int const known = rows_[static_cast<std::size_t>(h)];
      detail::expects(view.tokens(h) >= known, "attention_history", "rows were removed without apply()", "rows",
                      view.tokens(h), "known", known);
      fresh.push_back(view.tokens(h) - known);
    }
    for (int q = 0; q < view.queries.heads(); ++q) {
      int const needed = fresh[static_cast<std::size_t>(q / group_size(view))];
      detail::expects(view.queries.tokens(q) >= needed, "attention_history", "needs the query of every new token",
                      "queries", view.queries.tokens(q), "new tokens", needed);
    }
    make_room(longest(view.keys));
    attention_mass(ex, view, fresh, mass_.view());
    for (int h = 0; h < view.heads(); ++h) {
      int& known = rows_[static_cast<std::size_t>(h)];
      auto const arrived = static_cast<float>(fresh[static_cast<std::size_t>(h)]);
      for (int t = 0; t < known; ++t) seen_by_(h, t) += arrived;
      for (int t = known; t < view.tokens(h); ++t) seen_by_(h, t) = static_cast<float>(view.tokens(h) - t);
      known = view.tokens(h);
    }
  }

  template <executor E, view_with_keys V>
  void score(E const&, V const& view, scores_view<E> out) const {
    detail::check_scores("attention_history", view.keys, out);
    for (int h = 0; h < view.heads(); ++h) {
      int const known = static_cast<int>(rows_.size()) == view.heads() ? rows_[static_cast<std::size_t>(h)] : 0;
      detail::expects(view.tokens(h) == known, "attention_history", "observe() must have seen every row", "rows",
                      view.tokens(h), "known", known);
      for (int t = 0; t < view.tokens(h); ++t) {
        out(h, t) = average == attention_average::sum ? mass_(h, t) : mass_(h, t) / seen_by_(h, t);
      }
    }
  }

  /// Follows the rows: to be called with every plan that the cache was compacted by.
  template <executor E>
  void apply(E const& ex, plan const& p) {
    auto const rows = [&](matrix<float>& m) {
      return hnd(m.view().data, {.heads = m.rows(), .tokens = m.cols(), .head_dim = 1}).with_lengths(rows_.data());
    };
    auto const lengths = compact(ex, p, rows(mass_), rows(seen_by_));
    rows_.assign(lengths.begin(), lengths.end());
    for (int h = 0; h < p.heads(); ++h)
      std::fill(mass_.view().row(h) + p.after(h), mass_.view().row(h) + mass_.cols(), 0.0F);
  }

 private:
  void make_room(int tokens) {
    if (tokens <= mass_.cols() && !mass_.empty()) return;
    int const heads = static_cast<int>(rows_.size());
    int const cols = std::max(1, tokens + tokens / 2);
    for (auto* m : {&mass_, &seen_by_}) {
      matrix<float> larger(heads, cols, 0.0F);
      for (int h = 0; h < heads; ++h) std::copy_n(m->view().row(h), m->cols(), larger.view().row(h));
      *m = std::move(larger);
    }
  }

  matrix<float> mass_;
  matrix<float> seen_by_;
  std::vector<int> rows_;  // per head, those accounted for
};
static_assert(scorer<attention_history>);

}  // namespace tightkv
