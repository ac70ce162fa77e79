// SPDX-License-Identifier: Apache-2.0
/// Scores that need attention. Arithmetic bounds these, not memory: the floor does as many multiply-adds as the
/// products of queries and keys need, in registers. The baseline forms the attention matrix.
#include <vector>

#include <benchmark/benchmark.h>

#include <support/floors.hpp>
#include <support/observed.hpp>
#include <support/oracle.hpp>
#include <support/report.hpp>
#include <tightkv/ops/attention_mass.hpp>
#include <tightkv/scorers/window_votes.hpp>

namespace {

using bench::observed;

void finish(benchmark::State& state, observed const& seen, bool is_floor = false) {
  bench::report(state, seen.bytes(), seen.heads * seen.tokens, is_floor ? "" : "multiply_adds");
  bench::report_flops(state, 2 * seen.multiply_adds());
}

void multiply_adds(benchmark::State& state) {
  observed const seen(state);
  for (auto _ : state) bench::multiply_add(seen.multiply_adds());
  finish(state, seen, true);
}

void attention_matrices(benchmark::State& state) {
  observed const seen(state);
  for (auto _ : state) benchmark::DoNotOptimize(bench::column_sums(seen.view()));
  finish(state, seen);
}

void attention_mass(benchmark::State& state) {
  observed const seen(state);
  auto const view = seen.view();
  tightkv::cpu const ex;
  std::vector<int> const queries(static_cast<std::size_t>(seen.heads), seen.window);
  tightkv::matrix<float> mass(seen.heads, seen.tokens);
  tightkv::attention_mass(ex, view, queries, mass.view());
  auto const right = bench::column_sums(view);
  for (int h = 0; h < seen.heads; ++h) {
    bench::require(state, bench::near(mass.view().row(h), right[static_cast<std::size_t>(h)]), "the sums are wrong");
  }

  for (auto _ : state) {
    tightkv::attention_mass(ex, view, queries, mass.view());
    benchmark::ClobberMemory();
  }
  finish(state, seen);
}

void window_votes(benchmark::State& state) {
  observed const seen(state);
  auto const view = seen.view();
  tightkv::cpu const ex;
  tightkv::window_votes const scorer{.window = seen.window};
  auto scores = tightkv::make_scores(ex, seen.heads, seen.tokens);
  scorer.score(ex, view, scores.view());
  auto const sums = bench::column_sums(view);
  for (int h = 0; h < seen.heads; ++h) {
    auto const right = bench::votes(sums[static_cast<std::size_t>(h)], seen.window);
    bench::require(state, bench::near(scores.view().row(h), right), "the votes are wrong");
  }

  for (auto _ : state) {
    scorer.score(ex, view, scores.view());
    benchmark::ClobberMemory();
  }
  finish(state, seen);
}

void whole_prompt(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "queries"})->Args({1, 2048, 2048})->Unit(benchmark::kMillisecond);
}
void last_queries(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "queries"})->Args({8, 4096, 64})->Unit(benchmark::kMillisecond);
}
void both(benchmark::internal::Benchmark* b) {
  whole_prompt(b);
  b->Args({8, 4096, 64});
}

BENCHMARK(multiply_adds)->Apply(both);
BENCHMARK(attention_matrices)->Apply(both);
BENCHMARK(attention_mass)->Apply(whole_prompt);
BENCHMARK(window_votes)->Apply(last_queries);

}  // namespace
