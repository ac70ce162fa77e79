// SPDX-License-Identifier: Apache-2.0
/// Scoring a layer. The floor is one read of what the scorer looks at: the keys, or the keys and the values.
#include <string>
#include <type_traits>

#include <benchmark/benchmark.h>

#include <support/cache.hpp>
#include <support/floors.hpp>
#include <support/oracle.hpp>
#include <support/report.hpp>
#include <tightkv/core/matrix.hpp>

namespace {

using bench::dense, bench::paged_hnd, bench::paged_nhd;
using tightkv::bfloat16, tightkv::half, tightkv::plain_cpu;
using tightkv::key_distinctness, tightkv::key_norm, tightkv::lag_relative;

template <class Scorer>
inline constexpr bool reads_values = std::is_same_v<Scorer, lag_relative>;

template <class T, bool Values>
void read(benchmark::State& state) {
  bench::caches<T> cache(bench::shape_of(state));
  std::size_t const bytes = cache.bytes() * (Values ? 2 : 1);
  for (auto _ : state) {
    bench::read(cache.keys(), bytes, state.range(3));
    cache.advance();
  }
  bench::report(state, static_cast<double>(bytes), cache.tokens());
}
template <class T>
void read_keys(benchmark::State& state) {
  read<T, false>(state);
}
template <class T>
void read_keys_and_values(benchmark::State& state) {
  read<T, true>(state);
}

template <class Scorer, class T, class Layout, class Executor = tightkv::cpu>
void score(benchmark::State& state) {
  bench::caches<T, Layout> cache(bench::shape_of(state));
  Executor const ex;
  Scorer const scorer{};
  auto scores = tightkv::make_scores(ex, cache.shape.heads, cache.shape.tokens);

  auto const first = cache.view();
  scorer.score(ex, first, scores.view());
  for (int const h : {0, cache.shape.heads - 1}) {
    auto const right = bench::expected(scorer, first.keys.head(h), first.values.head(h));
    bench::require(state, bench::near(scores.view().row(h), right), "the scores are wrong");
  }

  for (auto _ : state) {
    scorer.score(ex, cache.view(), scores.view());
    benchmark::ClobberMemory();
    cache.advance();
  }
  std::string const floor = reads_values<Scorer> ? "read_keys_and_values<" : "read_keys<";
  double const bytes = static_cast<double>(cache.bytes()) * (reads_values<Scorer> ? 2 : 1);
  bench::report(state, bytes, cache.tokens(), floor + bench::name_of<T> + ">");
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim"})->ArgsProduct({{8}, {4096, 8192}, {128}})->Unit(benchmark::kMillisecond);
}
void long_shape(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim"})->Args({8, 8192, 128})->Unit(benchmark::kMillisecond);
}
void floors(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim", "streams"})
      ->ArgsProduct({{8}, {4096, 8192}, {128}, {1, 4}})
      ->Unit(benchmark::kMillisecond);
}
void long_floors(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim", "streams"})
      ->ArgsProduct({{8}, {8192}, {128}, {1, 4}})
      ->Unit(benchmark::kMillisecond);
}

/// Sizes of real heads. 80 and 112 fill no power of two.
void head_dims(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim"})
      ->ArgsProduct({{8}, {4096}, {64, 80, 96, 112, 256}})
      ->Unit(benchmark::kMillisecond);
}
void head_dim_floors(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim", "streams"})
      ->ArgsProduct({{8}, {4096}, {64, 80, 96, 112, 256}, {1}})
      ->Unit(benchmark::kMillisecond);
}

BENCHMARK(read_keys<float>)->Apply(floors);
BENCHMARK(read_keys<float>)->Apply(head_dim_floors);
BENCHMARK(read_keys<half>)->Apply(long_floors);
BENCHMARK(read_keys<bfloat16>)->Apply(long_floors);
BENCHMARK(read_keys<bfloat16>)->Apply(head_dim_floors);
BENCHMARK(read_keys_and_values<float>)->Apply(floors);
BENCHMARK(read_keys_and_values<float>)->Apply(head_dim_floors);
BENCHMARK(read_keys_and_values<half>)->Apply(long_floors);
BENCHMARK(read_keys_and_values<bfloat16>)->Apply(long_floors);
BENCHMARK(read_keys_and_values<bfloat16>)->Apply(head_dim_floors);

BENCHMARK(score<key_norm, float, dense>)->Apply(shapes);
BENCHMARK(score<key_norm, float, dense>)->Apply(head_dims);
BENCHMARK(score<key_norm, float, paged_hnd>)->Apply(long_shape);
BENCHMARK(score<key_norm, float, paged_nhd>)->Apply(long_shape);
BENCHMARK(score<key_norm, half, dense>)->Apply(long_shape);
BENCHMARK(score<key_norm, bfloat16, dense>)->Apply(long_shape);
BENCHMARK(score<key_norm, bfloat16, dense>)->Apply(head_dims);
BENCHMARK(score<key_norm, bfloat16, paged_hnd>)->Apply(long_shape);
BENCHMARK(score<key_norm, bfloat16, paged_nhd>)->Apply(long_shape);
BENCHMARK(score<key_norm, float, dense, plain_cpu>)->Apply(long_shape);
BENCHMARK(score<key_distinctness, float, dense>)->Apply(shapes);
BENCHMARK(score<key_distinctness, float, paged_hnd>)->Apply(long_shape);
BENCHMARK(score<key_distinctness, bfloat16, dense>)->Apply(long_shape);
BENCHMARK(score<key_distinctness, float, dense, plain_cpu>)->Apply(long_shape);
BENCHMARK(score<lag_relative, float, dense>)->Apply(shapes);
BENCHMARK(score<lag_relative, float, dense>)->Apply(head_dims);
BENCHMARK(score<lag_relative, float, paged_hnd>)->Apply(long_shape);
BENCHMARK(score<lag_relative, float, paged_nhd>)->Apply(long_shape);
BENCHMARK(score<lag_relative, half, dense>)->Apply(long_shape);
BENCHMARK(score<lag_relative, bfloat16, dense>)->Apply(long_shape);
BENCHMARK(score<lag_relative, bfloat16, dense>)->Apply(head_dims);
BENCHMARK(score<lag_relative, bfloat16, paged_hnd>)->Apply(long_shape);
BENCHMARK(score<lag_relative, bfloat16, paged_nhd>)->Apply(long_shape);
BENCHMARK(score<lag_relative, float, dense, plain_cpu>)->Apply(long_shape);

}  // namespace
