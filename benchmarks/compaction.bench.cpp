// SPDX-License-Identifier: Apache-2.0
/// Moving the kept rows, of keys and values. The floor is a memcpy of as many bytes; read and write are both counted.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <support/cache.hpp>
#include <support/floors.hpp>
#include <support/report.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/ops/gather.hpp>

namespace {

using bench::dense, bench::paged_hnd, bench::paged_nhd;
using tightkv::half;

/// Keeps a random `percent` of the tokens, others in every head.
tightkv::plan random_plan(tightkv::kv_shape const& s, std::int64_t percent) {
  auto const heads = static_cast<std::size_t>(s.heads);
  std::vector<int> const before(heads, s.tokens);
  std::vector<int> const after(heads, static_cast<int>(s.tokens * percent / 100));
  tightkv::plan plan(before, after);
  std::vector<int> tokens(static_cast<std::size_t>(s.tokens));
  for (int h = 0; h < s.heads; ++h) {
    std::iota(tokens.begin(), tokens.end(), 0);
    std::shuffle(tokens.begin(), tokens.end(), std::mt19937(static_cast<unsigned>(h)));
    std::partial_sort_copy(tokens.begin(), tokens.begin() + after[0], plan.kept(h).begin(), plan.kept(h).end());
  }
  return plan;
}

/// Rows that are not where they belong: of the keys, or of the values.
std::size_t moves(tightkv::plan const& plan) {
  std::size_t rows = 0;
  for (int h = 0; h < plan.heads(); ++h) {
    for (int j = 0; j < plan.after(h); ++j) rows += plan.kept(h)[static_cast<std::size_t>(j)] != j ? 1 : 0;
  }
  return rows;
}

/// Bytes of as many rows of keys, and of values.
template <class T>
std::size_t bytes_of(tightkv::kv_shape const& s, std::size_t rows) {
  return 2 * rows * static_cast<std::size_t>(s.head_dim) * sizeof(T);
}

/// Half of the next cache at most, to where nobody has looked for long.
template <class T>
void copy_kept_rows(benchmark::State& state) {
  bench::caches<T> cache(bench::shape_of(state));
  std::size_t const bytes = bytes_of<T>(cache.shape, moves(random_plan(cache.shape, state.range(3))));
  for (auto _ : state) {
    bench::copy(cache.keys(), cache.elsewhere(), bytes);
    cache.advance();
  }
  cache.restore();
  bench::report(state, 2.0 * static_cast<double>(bytes), cache.tokens());
}

/// Whether `kept` has the rows of `original` that the plan keeps.
template <class P, class Q>
bool carried_out(tightkv::plan const& plan, P const& original, Q const& kept) {
  for (int h = 0; h < plan.heads(); ++h) {
    for (int j = 0; j < plan.after(h); ++j) {
      auto const from = original.head(h)[plan.kept(h)[static_cast<std::size_t>(j)]];
      auto const to = kept.head(h)[j];
      for (int d = 0; d < from.size; ++d) {
        if (std::memcmp(&from[d], &to[d], sizeof from[d]) != 0) return false;
      }
    }
  }
  return true;
}

template <class T, class Layout>
void compact(benchmark::State& state) {
  bench::caches<T, Layout> cache(bench::shape_of(state));
  tightkv::cpu const ex;
  auto const plan = random_plan(cache.shape, state.range(3));

  auto const first = cache.view();
  tightkv::compact(ex, plan, first.keys, first.values);
  auto const original = cache.copy_of_first();
  bool const right = carried_out(plan, original.keys, first.keys) && carried_out(plan, original.values, first.values);
  bench::require(state, right, "the rows are not the kept ones");
  cache.restore();

  for (auto _ : state) {
    auto const next = cache.view();
    tightkv::compact(ex, plan, next.keys, next.values);
    benchmark::ClobberMemory();
    if (!cache.advance()) bench::untimed(state, [&] { cache.restore(); });
  }
  cache.restore();
  auto const bytes = static_cast<double>(2 * bytes_of<T>(cache.shape, moves(plan)));
  bench::report(state, bytes, cache.tokens(), std::string("copy_kept_rows<") + bench::name_of<T> + ">");
}

template <class T, class Layout>
void gather(benchmark::State& state) {
  bench::caches<T, Layout> cache(bench::shape_of(state));
  tightkv::cpu const ex;
  auto const plan = random_plan(cache.shape, state.range(3));
  tightkv::kv_shape const kept{.heads = cache.shape.heads, .tokens = plan.after(0), .head_dim = cache.shape.head_dim};
  auto const rows = static_cast<std::size_t>(kept.heads) * static_cast<std::size_t>(kept.tokens);
  std::size_t const elements = rows * static_cast<std::size_t>(kept.head_dim);
  auto const to_keys = [&] { return tightkv::hnd(cache.elsewhere(), kept); };
  auto const to_values = [&] { return tightkv::hnd(cache.elsewhere() + elements, kept); };

  auto const gather_both = [&] {
    auto const from = cache.view();
    tightkv::gather(ex, plan, from.keys, to_keys());
    tightkv::gather(ex, plan, from.values, to_values());
  };
  gather_both();
  auto const from = cache.view();
  bool const right = carried_out(plan, from.keys, to_keys()) && carried_out(plan, from.values, to_values());
  bench::require(state, right, "the rows are not the kept ones");

  for (auto _ : state) {
    gather_both();
    benchmark::ClobberMemory();
    cache.advance();
  }
  cache.restore();
  bench::report(state, static_cast<double>(2 * bytes_of<T>(kept, rows)), cache.tokens(),
                std::string("copy_kept_rows<") + bench::name_of<T> + ">");
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim", "keep_percent"})
      ->ArgsProduct({{8}, {8192}, {128}, {10, 25, 50}})
      ->Unit(benchmark::kMillisecond);
}
void quarter(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim", "keep_percent"})->Args({8, 8192, 128, 25})->Unit(benchmark::kMillisecond);
}

void head_dims(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim", "keep_percent"})
      ->ArgsProduct({{8}, {4096}, {64, 96, 256}, {25}})
      ->Unit(benchmark::kMillisecond);
}

BENCHMARK(copy_kept_rows<float>)->Apply(shapes);
BENCHMARK(copy_kept_rows<float>)->Apply(head_dims);
BENCHMARK(copy_kept_rows<half>)->Apply(quarter);
BENCHMARK(compact<float, dense>)->Apply(shapes);
BENCHMARK(compact<float, dense>)->Apply(head_dims);
BENCHMARK(compact<float, paged_hnd>)->Apply(quarter);
BENCHMARK(compact<float, paged_nhd>)->Apply(quarter);
BENCHMARK(compact<half, paged_hnd>)->Apply(quarter);
BENCHMARK(compact<half, dense>)->Apply(quarter);
BENCHMARK(gather<float, dense>)->Apply(quarter);
BENCHMARK(gather<float, paged_nhd>)->Apply(quarter);
BENCHMARK(gather<half, dense>)->Apply(quarter);

}  // namespace
