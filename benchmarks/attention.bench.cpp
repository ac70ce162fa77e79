// SPDX-License-Identifier: Apache-2.0
/// Scores that need attention. Arithmetic bounds these, not memory: the floor does as many multiply-adds as the
/// products of queries and keys need, in registers. The baseline forms the attention matrix. `eigen_cpu` has Eigen's
/// products in place of our tiles, `plain_cpu` is the specification.
#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <vector>

#include <benchmark/benchmark.h>

#include <support/floors.hpp>
#include <support/observed.hpp>
#include <support/oracle.hpp>
#include <support/report.hpp>
#include <tightkv/cpu/eigen_attention.hpp>
#include <tightkv/methods/compress.hpp>
#include <tightkv/methods/h2o.hpp>
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

/// Times the column sums of a view like `seen.view()`.
template <class E = tightkv::cpu, class V>
void time_mass(benchmark::State& state, observed const& seen, V const& view) {
  E const ex;
  std::vector<int> const queries(static_cast<std::size_t>(seen.heads), seen.window);
  tightkv::matrix<float> mass(seen.heads, seen.tokens);
  tightkv::attention_mass(ex, view, queries, mass.view());
  auto const right = bench::column_sums(seen.view());
  for (int h = 0; h < seen.heads; ++h) {
    bench::require(state, bench::near(mass.view().row(h), right[static_cast<std::size_t>(h)]), "the sums are wrong");
  }

  for (auto _ : state) {
    tightkv::attention_mass(ex, view, queries, mass.view());
    benchmark::ClobberMemory();
  }
  finish(state, seen);
}

template <class E>
void attention_mass(benchmark::State& state) {
  observed const seen(state);
  time_mass<E>(state, seen, seen.view());
}

template <class V>
float log_sum_exp(V const& view, int q, int i) {
  auto const keys = view.keys.head(q / bench::group);
  auto const query = view.queries.head(q)[i];
  double sum = 0;
  for (int j = 0; j <= keys.tokens() - view.queries.tokens(q) + i; ++j) {
    float logit = 0;
    for (int d = 0; d < query.size; ++d) logit += query[d] * keys[j][d];
    sum += std::exp(static_cast<double>(logit) / std::sqrt(static_cast<double>(query.size)));
  }
  return static_cast<float>(std::log(sum));
}

/// Where the engine's attention has left the logarithms of the normalisers.
void attention_mass_with_lse(benchmark::State& state) {
  observed const seen(state);
  auto const view = seen.view();
  tightkv::matrix<float> lse(view.queries.heads(), seen.window);
  for (int q = 0; q < view.queries.heads(); ++q) {
    for (int i = 0; i < seen.window; ++i) lse(q, i) = log_sum_exp(view, q, i);
  }
  time_mass(state, seen, tightkv::kv_view{view.keys, tightkv::absent{}, view.queries, lse.view()});
}

std::size_t key_bytes(observed const& seen) {
  return static_cast<std::size_t>(seen.heads) * static_cast<std::size_t>(seen.tokens) *
         static_cast<std::size_t>(row_bytes(seen.view().keys));
}

void read_keys(benchmark::State& state) {
  observed const seen(state);
  std::size_t const bytes = key_bytes(seen);
  for (auto _ : state) bench::read(seen.view().keys.head(0)[0].data, bytes, 1);
  bench::report(state, static_cast<double>(bytes), seen.heads);
}

/// The first `tokens` keys.
auto some_keys(observed const& seen, int tokens) {
  auto const view = seen.view();
  auto const keys =
      tightkv::hnd(view.keys.head(0)[0].data,
                   {.heads = seen.heads, .tokens = tokens, .head_dim = bench::head_dim, .capacity = seen.tokens});
  return tightkv::kv_view{keys, tightkv::absent{}, view.queries};
}

/// A step of decoding with a full H2O cache: the new token's attention is added, and one token goes. The executor has
/// memory of its own, as where steps follow each other.
void decode_step_h2o(benchmark::State& state) {
  observed const seen(state);
  std::pmr::unsynchronized_pool_resource memory({.max_blocks_per_chunk = 0, .largest_required_pool_block = 4U << 20U});
  tightkv::cpu const ex(tightkv::serial{}, &memory);
  tightkv::h2o const method{.budget = tightkv::keep_tokens{seen.tokens - 1}};
  tightkv::h2o::state history;
  for (int tokens = 1; tokens < seen.tokens; ++tokens) tightkv::compress(ex, method, some_keys(seen, tokens), history);
  auto const view = seen.view();
  auto const plan = tightkv::compress(ex, method, view, history).plan;
  bench::require(state, plan.after(0) == seen.tokens - 1, "one token must go");

  for (auto _ : state) benchmark::DoNotOptimize(tightkv::compress(ex, method, view, history));
  bench::report(state, static_cast<double>(key_bytes(seen)), seen.heads, "read_keys");
}

template <class E>
void window_votes(benchmark::State& state) {
  observed const seen(state);
  auto const view = seen.view();
  E const ex;
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
void long_last_queries(benchmark::internal::Benchmark* b) {
  last_queries(b);
  b->Args({8, 8192, 64});
}
void both(benchmark::internal::Benchmark* b) {
  whole_prompt(b);
  b->Args({8, 4096, 64});
}
void all(benchmark::internal::Benchmark* b) {
  both(b);
  b->Args({8, 8192, 64});
}
void one_step(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "queries"})->Args({8, 2048, 1})->Unit(benchmark::kMillisecond);
}

BENCHMARK(multiply_adds)->Apply(all);
BENCHMARK(attention_matrices)->Apply(both);
BENCHMARK(attention_mass<tightkv::cpu>)->Apply(whole_prompt);
BENCHMARK(attention_mass<tightkv::eigen_cpu>)->Apply(whole_prompt);
BENCHMARK(attention_mass<tightkv::plain_cpu>)->Apply(whole_prompt);
BENCHMARK(attention_mass_with_lse)->Apply(whole_prompt);
BENCHMARK(window_votes<tightkv::cpu>)->Apply(long_last_queries);
BENCHMARK(window_votes<tightkv::eigen_cpu>)->Apply(long_last_queries);
BENCHMARK(read_keys)->Apply(one_step);
BENCHMARK(decode_step_h2o)->Apply(one_step);

}  // namespace
