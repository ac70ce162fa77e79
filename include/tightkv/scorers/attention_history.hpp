// SPDX-License-Identifier: Apache-2.0
/// Keeps tokens that have received much attention so far: the accumulated scores of H2O, carried along with the rows.
#pragma once

#include <cstddef>
#include <memory_resource>
#include <vector>

#include <tightkv/ops/attention_mass.hpp>
#include <tightkv/ops/average_attention.hpp>
#include <tightkv/ops/checks.hpp>
#include <tightkv/ops/fill_tokens.hpp>
#include <tightkv/scorers/concept.hpp>
#include <tightkv/scorers/row_numbers.hpp>

namespace tightkv {

/// The attention each row of a cache has received, summed over its GQA group and over the queries observed so far.
/// Caller-owned state of one (layer, sequence), or of a batch; the sums lie where the cache lies.
///
///     history.observe(ex, view);        // after rows were appended; `view.queries` holds at least those rows' queries
///     history.score(ex, view, out);     // it is a scorer
///     history.apply(ex, plan);          // after the cache was compacted
///
/// Zhang et al., H2O, NeurIPS 2023, arXiv:2306.14048. Sums are fp32: an increment below 2^-24 of a row's sum is lost.
template <class Memory>
class basic_attention_history {
 public:
  attention_average average = attention_average::sum;

  /// Adds the attention of the queries of all rows appended since the last call, and of no other.
  template <executor E, view_with_queries V>
  requires reachable_from<V, E>
  void observe(E const& ex, V const& view) {
    rows_.check("attention_history", view);
    std::pmr::vector<int> fresh(ex.resource());
    std::pmr::vector<token_range> appended(ex.resource());
    for (int h = 0; h < view.heads(); ++h) {
      appended.push_back({rows_.known(h), view.tokens(h)});
      fresh.push_back(appended.back().size());
    }
    for (int q = 0; q < view.queries.heads(); ++q) {
      int const needed = fresh[static_cast<std::size_t>(q / group_size(view))];
      detail::expects(view.queries.tokens(q) >= needed, "attention_history", "needs the query of every new token",
                      "queries", view.queries.tokens(q), "new tokens", needed);
    }
    grow(ex, mass_, view.heads(), longest(view.keys));
    fill_tokens(ex, appended, 0.0F, mass_.view());
    attention_mass(ex, view, fresh, mass_.view());
    rows_.observe(ex, view);
  }

  template <executor E, view_with_keys V>
  requires reachable_from<V, E>
  void score(E const& ex, V const& view, scores_view<E> out) const {
    detail::check_scores("attention_history", view.keys, out);
    for (int h = 0; h < view.heads(); ++h) {
      int const known = static_cast<int>(rows_.known().size()) == view.heads() ? rows_.known(h) : 0;
      detail::expects(view.tokens(h) == known, "attention_history", "observe() must have seen every row", "rows",
                      view.tokens(h), "known", known);
    }
    if (longest(view.keys) == 0) return;
    average_attention(
        ex, mass_.view(),
        {.numbers = rows_.view(), .lengths = rows_.known(), .arrived = rows_.arrived(), .average = average}, out);
  }

  /// Follows the rows: to be called with every plan that the cache was compacted by.
  template <executor E>
  void apply(E const& ex, basic_plan<Memory> const& p) {
    rows_.apply(ex, p, mass_);
  }

 private:
  matrix<float, Memory> mass_;
  row_numbers<Memory> rows_;
};

using attention_history = basic_attention_history<host_memory>;
static_assert(scorer<attention_history>);

}  // namespace tightkv
