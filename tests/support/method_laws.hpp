// SPDX-License-Identifier: Apache-2.0
/// What is true of every method. A method inherits all of it in one line:
///
///     [[maybe_unused]] bool const laws = obeys_method_laws<tightkv::l2_norm>("l2_norm");
///
/// The laws themselves are in `methods/laws.test.cpp`.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <ostream>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/budgets/budget.hpp>
#include <tightkv/methods/compress.hpp>
#include <tightkv/ops/token_range.hpp>
#include <tightkv/view/batch.hpp>

#include <support/any_order.hpp>
#include <support/layer.hpp>

namespace tests {

/// What a method answered.
struct outcome {
  tightkv::plan plan;
  std::vector<std::vector<float>> scores;  // per head; none where a method has no scores

  float score(int head, int token) const;
};
outcome outcome_of(tightkv::plan const& plan, tightkv::matrix<float> const& scores);
/// Expects the scores of the judged tokens to be `expected`, up to `tolerance`, and the kept ones to be the best of
/// them, up to `tolerance`.
void expect_best(outcome const& o, int head, std::vector<double> const& expected, tightkv::token_range judged,
                 double tolerance);
/// What a method decides, all types as in the laws: for worked examples.
template <class M>
outcome decide(M const& method, engine_memory& cache) {
  auto const d = tightkv::decide(any_cpu{}, method, cache.float_view());
  return outcome_of(d.plan, d.scores);
}
template <class M>
outcome decide(M const& method, layer const& content) {
  engine_memory cache(content);
  return decide(method, cache);
}
/// Compresses, positions along with the rows.
template <class M>
outcome compress(M const& method, engine_memory& cache, typename M::state& state) {
  auto const d = tightkv::compress(any_cpu{}, method, cache.float_view(), state, cache.position_rows());
  if (cache.heads() > 0) cache.set_tokens(d.plan.after(0));
  return outcome_of(d.plan, d.scores);
}
void expect_tokens(std::vector<int> const& got, std::vector<int> const& expected);
void expect_kept(outcome const& o, std::vector<int> const& expected);  // of head 0
/// The tokens that one head keeps.
std::vector<int> kept(outcome const& o, int head = 0);

bool operator==(outcome const& a, outcome const& b);  // bit for bit, any NaN like any other
std::ostream& operator<<(std::ostream& out, outcome const& o);

template <class M>
struct method_case;

/// What the laws need to know about a method. A test derives from it what its method does differently.
template <class M>
struct method_facts {
  static constexpr bool reads_rows = true;                  // keys that are not finite cost a token its score
  static constexpr bool heads_are_independent = true;       // false where heads of a layer are tied
  static constexpr bool does_not_know_head_numbers = true;  // false where head 1 alone is not like head 1 of two

  static constexpr int partition = 0;  // where each partition of so many tokens has a budget of its own

  /// With parameters that leave something to evict from 40 tokens.
  static M make() {
    M m{};
    if constexpr (requires { m.sink; }) m.sink = 2;
    if constexpr (requires { m.recent; }) m.recent = 3;
    if constexpr (requires { m.window; }) m.window = 6;
    if constexpr (requires { m.lag; }) m.lag = 6;
    return m;
  }
  static void set_fraction(M& m, double keep) { m.budget = tightkv::keep_ratio{keep}; }
  static bool set_tokens(M& m, int count) {
    if constexpr (requires { m.budget; }) m.budget = tightkv::keep_tokens{count};
    return requires { m.budget; };
  }
  /// First and last tokens that stay, whatever the budget.
  static tightkv::protected_tokens protects(M const& m, int) {
    tightkv::protected_tokens p;
    if constexpr (requires { m.sink; }) p.sink = m.sink;
    if constexpr (requires { m.recent + 0; }) p.recent = m.recent;
    if constexpr (requires { m.recent.value(); }) p.recent = m.recent.value();
    if constexpr (requires { m.window; }) p.recent = m.window;
    return p;
  }
  /// The same of a cache that has been compressed before.
  static tightkv::protected_tokens protects_in_stream(M const& m, int tokens) {
    return method_case<M>::protects(m, tokens);
  }
  /// How many of `tokens` stay.
  static int kept(M const& m, double keep, int tokens) {
    int const share = static_cast<int>(keep * static_cast<double>(tokens));
    return std::min(tokens, std::max(share, method_case<M>::protects(m, tokens).count()));
  }
};

template <class M>
struct method_case : method_facts<M> {};

enum class call { decide, compress, compress_with_wrong_positions };

/// A method and its state whose types are forgotten, so that the laws are compiled once.
class any_method {
 public:
  virtual ~any_method() = default;
  /// `decide` starts from a new state; `compress` goes on with the method's, and moves the rows.
  virtual outcome run(engine_memory& cache, call what, order how) = 0;
  /// All layers, which lie dense and hold floats, in one call.
  virtual outcome decide_batch(std::vector<engine_memory>& layers) = 0;
  virtual void forget() = 0;
  virtual void set_fraction(double keep) = 0;
  virtual bool set_tokens(int count) = 0;  // false where a method has no such budget
  virtual tightkv::protected_tokens protects(int tokens) const = 0;
  virtual tightkv::protected_tokens protects_in_stream(int tokens) const = 0;
  virtual int kept(double keep, int tokens) const = 0;

  outcome decide(engine_memory& cache, order how = order::forwards) { return run(cache, call::decide, how); }
  outcome decide(engine_memory&& cache) { return run(cache, call::decide, order::forwards); }
  outcome compress(engine_memory& cache) {
    auto o = run(cache, call::compress, order::forwards);
    if (cache.heads() > 0) cache.set_tokens(o.plan.after(0));
    return o;
  }

  tightkv::method_info info;
  std::vector<std::string> parameters;
  std::vector<std::string> meanings;
  bool reads_rows = true;
  bool heads_are_independent = true;
  bool does_not_know_head_numbers = true;
  int partition = 0;
};

template <class M>
class erased_method : public any_method {
 public:
  erased_method() {
    info = M::info;
    reads_rows = facts::reads_rows;
    heads_are_independent = facts::heads_are_independent;
    does_not_know_head_numbers = facts::does_not_know_head_numbers;
    partition = facts::partition;
    M::parameters(method_, [&](std::string_view name, auto&, std::string_view meaning) {
      parameters.emplace_back(name);
      meanings.emplace_back(meaning);
    });
  }
  void forget() override { state_ = {}; }
  void set_fraction(double keep) override { facts::set_fraction(method_, keep); }
  bool set_tokens(int count) override { return facts::set_tokens(method_, count); }
  tightkv::protected_tokens protects(int tokens) const override { return facts::protects(method_, tokens); }
  tightkv::protected_tokens protects_in_stream(int tokens) const override {
    return facts::protects_in_stream(method_, tokens);
  }
  int kept(double keep, int tokens) const override { return facts::kept(method_, keep, tokens); }

  outcome run(engine_memory& cache, call what, order how) override {
    any_cpu const ex{any_order{how}};
    std::optional<outcome> result;
    auto const rows = cache.position_rows(cache.tokens() + (what == call::compress_with_wrong_positions ? 1 : 0));
    cache.visit([&](auto const& view) {
      auto const d = what == call::decide ? tightkv::decide(ex, method_, view)
                                          : tightkv::compress(ex, method_, view, state_, rows);
      result = outcome_of(d.plan, d.scores);
    });
    return *result;
  }

  outcome decide_batch(std::vector<engine_memory>& layers) override {
    std::vector<tightkv::plane<float>> keys;
    std::vector<tightkv::plane<float>> values;
    std::vector<tightkv::plane<float const>> queries;
    for (auto& l : layers) {
      auto const view = l.float_view();
      keys.push_back(view.keys);
      values.push_back(view.values);
      queries.push_back(view.queries);
    }
    tightkv::kv_view const all(tightkv::batch{keys}, tightkv::batch{values}, tightkv::batch{queries});
    auto const d = tightkv::decide(any_cpu{}, method_, all);
    return outcome_of(d.plan, d.scores);
  }

 private:
  using facts = method_case<M>;
  M method_ = facts::make();
  typename M::state state_;
};

using method_maker = std::unique_ptr<any_method> (*)();

/// Makes every law a test of the suite `<name>_laws`.
bool register_method_laws(std::string const& name, method_maker make, std::source_location const& where);

template <class M>
bool obeys_method_laws(std::string const& name, std::source_location where = std::source_location::current()) {
  auto const make = []() -> std::unique_ptr<any_method> { return std::make_unique<erased_method<M>>(); };
  return register_method_laws(name, make, where);
}

}  // namespace tests
