// SPDX-License-Identifier: Apache-2.0
/// Methods end to end: score, select, compact in place. The floor reads what must be read and copies what must be
/// moved, each row once where one pass could do.
#include <memory_resource>
#include <string>
#include <type_traits>
#include <vector>

#include <benchmark/benchmark.h>

#include <support/cache.hpp>
#include <support/floors.hpp>
#include <support/report.hpp>
#include <tightkv/methods/compress.hpp>
#include <tightkv/methods/key_diff.hpp>
#include <tightkv/methods/l2_norm.hpp>
#include <tightkv/methods/lag_kv.hpp>

namespace {

using bench::dense, bench::paged_hnd, bench::paged_nhd;
using tightkv::bfloat16, tightkv::half;
using tightkv::key_diff, tightkv::l2_norm, tightkv::lag_kv;

constexpr double kept = 0.25;

template <class M>
M keeping_a_quarter() {
  if constexpr (std::is_same_v<M, lag_kv>) {
    return {.keep = {kept}};
  } else {
    return {.budget = tightkv::keep_ratio{kept}};
  }
}

/// What a floor reads, and what it copies besides.
struct traffic {
  std::size_t read = 0;
  std::size_t copied = 0;

  double bytes() const { return static_cast<double>(read + 2 * copied); }
};

/// Keys and values, of which a quarter is written back as soon as it is read: LagKV could decide partition by
/// partition.
template <class T>
traffic one_pass(bench::caches<T> const& cache) {
  return {cache.bytes() * 2 / 4 * 3, cache.bytes() * 2 / 4};
}
/// The keys, and when all have been seen a quarter of keys and values.
template <class T>
traffic keys_then_rows(bench::caches<T> const& cache) {
  return {cache.bytes(), cache.bytes() * 2 / 4};
}

template <class T>
void move_least(benchmark::State& state, traffic (*least)(bench::caches<T> const&)) {
  bench::caches<T> cache(bench::shape_of(state));
  traffic const t = least(cache);
  for (auto _ : state) {
    bench::read(cache.keys(), t.read, state.range(3));
    bench::copy(cache.keys() + 2 * cache.elements() - t.copied / sizeof(T), cache.elsewhere(), t.copied);
    cache.advance();
  }
  cache.restore();
  bench::report(state, t.bytes(), cache.tokens());
}
template <class T>
void move_in_one_pass(benchmark::State& state) {
  move_least<T>(state, one_pass<T>);
}
template <class T>
void read_keys_move_rows(benchmark::State& state) {
  move_least<T>(state, keys_then_rows<T>);
}

/// Whether each head holds what it should: the rows that the decision on an untouched copy says.
template <class M, class V>
bool compresses(M const& method, V const& view, V const& untouched) {
  tightkv::cpu const ex;
  auto const plan = tightkv::decide(ex, method, untouched).plan;
  typename M::state state;
  if (tightkv::compress(ex, method, view, state).plan != plan) return false;
  for (int h = 0; h < plan.heads(); ++h) {
    for (int j = 0; j < plan.after(h); ++j) {
      auto const from = untouched.values.head(h)[plan.kept(h)[static_cast<std::size_t>(j)]];
      auto const to = view.values.head(h)[j];
      for (int d = 0; d < from.size; ++d) {
        if (static_cast<float>(from[d]) != static_cast<float>(to[d])) return false;
      }
    }
  }
  return plan.evicts();
}

template <class M, class T, class Layout>
void compress(benchmark::State& state) {
  bench::caches<T, Layout> cache(bench::shape_of(state));
  tightkv::cpu const ex;
  M const method = keeping_a_quarter<M>();
  bench::require(state, compresses(method, cache.view(), cache.copy_of_first()), "the cache holds other rows");
  cache.restore();

  for (auto _ : state) {
    typename M::state empty;
    benchmark::DoNotOptimize(tightkv::compress(ex, method, cache.view(), empty));
    if (!cache.advance()) bench::untimed(state, [&] { cache.restore(); });
  }
  cache.restore();
  constexpr bool lag = std::is_same_v<M, lag_kv>;
  bench::caches<T> const rows(cache.shape);
  std::string const floor = lag ? "move_in_one_pass<" : "read_keys_move_rows<";
  bench::report(state, (lag ? one_pass(rows) : keys_then_rows(rows)).bytes(), cache.tokens(),
                floor + bench::name_of<T> + ">");
}

/// The rows of a partition that has come due, and those that judge it.
template <class T>
traffic one_due(bench::caches<T> const& cache) {
  std::size_t const rows = 2 * static_cast<std::size_t>(cache.shape.heads) * static_cast<std::size_t>(lag_kv{}.lag);
  std::size_t const partition = rows * static_cast<std::size_t>(cache.shape.head_dim) * sizeof(T);
  return {partition * 3 / 4, partition / 4 + partition};  // the rows that judge move left as well
}
template <class T>
void move_one_partition(benchmark::State& state) {
  move_least<T>(state, one_due<T>);
}

/// LagKV while decoding: of a long cache one partition has come due. The executor has memory of its own: the C library
/// would give hundreds of kilobytes back after every step, and take them again.
template <class T>
void one_partition_lag_kv(benchmark::State& state) {
  bench::caches<T> cache(bench::shape_of(state));
  std::pmr::unsynchronized_pool_resource memory({.max_blocks_per_chunk = 0, .largest_required_pool_block = 4U << 20U});
  tightkv::cpu const ex(tightkv::serial{}, &memory);
  auto const method = keeping_a_quarter<lag_kv>();
  lag_kv::state const due{
      .first = std::vector<int>(static_cast<std::size_t>(cache.shape.heads), cache.shape.tokens - 2 * method.lag),
      .decided = {}};
  lag_kv::state first = due;
  auto const plan = tightkv::compress(ex, method, cache.view(), first).plan;
  bench::require(state, plan.after(0) == cache.shape.tokens - method.lag * 3 / 4, "one partition must go");
  cache.restore();

  for (auto _ : state) {
    lag_kv::state now = due;
    benchmark::DoNotOptimize(tightkv::compress(ex, method, cache.view(), now));
    if (!cache.advance()) bench::untimed(state, [&] { cache.restore(); });
  }
  cache.restore();
  bench::report(state, one_due(cache).bytes(), cache.shape.heads * method.lag,
                std::string("move_one_partition<") + bench::name_of<T> + ">");
}

void shape(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim"})->Args({8, 8192, 128})->Unit(benchmark::kMillisecond);
}
void floors(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim", "streams"})
      ->ArgsProduct({{8}, {8192}, {128}, {1, 4}})
      ->Unit(benchmark::kMillisecond);
}

BENCHMARK(move_in_one_pass<float>)->Apply(floors);
BENCHMARK(move_in_one_pass<half>)->Apply(floors);
BENCHMARK(move_in_one_pass<bfloat16>)->Apply(floors);
BENCHMARK(move_one_partition<float>)->Apply(floors);
BENCHMARK(read_keys_move_rows<float>)->Apply(floors);
BENCHMARK(read_keys_move_rows<half>)->Apply(floors);
BENCHMARK(compress<lag_kv, float, dense>)->Apply(shape);
BENCHMARK(compress<lag_kv, float, paged_hnd>)->Apply(shape);
BENCHMARK(compress<lag_kv, float, paged_nhd>)->Apply(shape);
BENCHMARK(compress<lag_kv, half, dense>)->Apply(shape);
BENCHMARK(compress<lag_kv, bfloat16, dense>)->Apply(shape);
BENCHMARK(one_partition_lag_kv<float>)->Apply(shape);
BENCHMARK(compress<l2_norm, float, dense>)->Apply(shape);
BENCHMARK(compress<l2_norm, half, dense>)->Apply(shape);
BENCHMARK(compress<key_diff, float, dense>)->Apply(shape);

}  // namespace
