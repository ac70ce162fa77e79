// SPDX-License-Identifier: Apache-2.0
/// What is true of every scorer. A scorer inherits all of it in one line:
///
///     [[maybe_unused]] bool const laws = obeys_scorer_laws<tightkv::key_norm>("key_norm");
///
/// The laws themselves are in `scorers/laws.test.cpp`.
#pragma once

#include <memory>
#include <ostream>
#include <source_location>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/scorers/concept.hpp>

#include <support/any_order.hpp>
#include <support/layer.hpp>

namespace tests {

using score_table = std::vector<std::vector<float>>;  // per head

score_table table_of(tightkv::matrix<float> const& scores);
/// Expects the same numbers, up to `tolerance`; NaN where NaN is expected.
void expect_scores(score_table const& got, score_table const& expected, float tolerance = 0.0F);
/// The same bits everywhere, or NaN on both sides.
bool same_bits(score_table const& a, score_table const& b);

/// The scores of a view: for worked examples.
template <class S, class V>
score_table scores_of(S const& scorer, V const& view) {
  any_cpu const ex;
  auto scores = tightkv::make_scores(ex, view.heads(), tightkv::longest(view.keys));
  scorer.score(ex, view, scores.view());
  return table_of(scores);
}

/// What the laws need to know about a scorer. A test derives from it what its scorer does differently.
template <class S>
struct scorer_facts {
  static constexpr bool heads_are_independent = true;
  static constexpr bool rows_are_independent = false;

  /// With parameters that leave something to judge of 40 tokens.
  static S make() {
    S s{};
    if constexpr (requires { s.lag; }) s.lag = 6;
    if constexpr (requires { s.sink; }) s.sink = 2;
    if constexpr (requires { s.window; }) s.window = 8;
    return s;
  }
};

template <class S>
struct scorer_case : scorer_facts<S> {};

/// A scorer whose type is forgotten, so that the laws are compiled once.
struct any_scorer {
  virtual ~any_scorer() = default;
  /// `missing` rows and columns are left out of the scores it is given.
  virtual score_table score(engine_memory& cache, order how, int missing_rows, int missing_cols) const = 0;
  score_table operator()(engine_memory& cache, order how = order::forwards) const { return score(cache, how, 0, 0); }
  score_table operator()(engine_memory&& cache) const { return score(cache, order::forwards, 0, 0); }

  bool heads_are_independent = true;
  bool rows_are_independent = false;
};

template <class S>
struct erased_scorer : any_scorer {
  erased_scorer() {
    heads_are_independent = scorer_case<S>::heads_are_independent;
    rows_are_independent = scorer_case<S>::rows_are_independent;
  }
  score_table score(engine_memory& cache, order how, int missing_rows, int missing_cols) const override {
    any_cpu const ex{any_order{how}};
    auto scores = tightkv::make_scores(ex, cache.heads() - missing_rows, cache.tokens() - missing_cols);
    cache.visit([&](auto const& view) { scorer_case<S>::make().score(ex, view, scores.view()); });
    return table_of(scores);
  }
};

using scorer_maker = std::unique_ptr<any_scorer> (*)();

/// Makes every law a test of the suite `<name>_laws`.
bool register_scorer_laws(std::string const& name, scorer_maker make, std::source_location const& where);

template <class S>
bool obeys_scorer_laws(std::string const& name, std::source_location where = std::source_location::current()) {
  auto const make = []() -> std::unique_ptr<any_scorer> { return std::make_unique<erased_scorer<S>>(); };
  return register_scorer_laws(name, make, where);
}

}  // namespace tests
