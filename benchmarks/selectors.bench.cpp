// SPDX-License-Identifier: Apache-2.0
/// Choosing a quarter of the tokens. The floor is one read of the scores, the baseline a stable sort of the tokens.
#include <algorithm>
#include <numeric>
#include <vector>

#include <benchmark/benchmark.h>

#include <support/floors.hpp>
#include <support/report.hpp>
#include <support/scores.hpp>
#include <tightkv/selectors/partition_top_k.hpp>
#include <tightkv/selectors/top_k.hpp>

namespace {

using bench::all_equal, bench::infinities, bench::normal, bench::score_matrices, bench::shared_leading_bits;

constexpr int lag = 128;

/// Of every `step` tokens the best quarter, by sorting them all.
tightkv::plan sorted(tightkv::matrix_view<float const> scores, int step) {
  auto const heads = static_cast<std::size_t>(scores.rows);
  tightkv::plan plan(std::vector<int>(heads, scores.cols), std::vector<int>(heads, scores.cols / 4));
  std::vector<int> order(static_cast<std::size_t>(step));
  for (int h = 0; h < scores.rows; ++h) {
    auto out = plan.kept(h).begin();
    for (int begin = 0; begin < scores.cols; begin += step) {
      std::iota(order.begin(), order.end(), begin);
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return scores(h, a) > scores(h, b); });
      auto const end = std::copy_n(order.begin(), step / 4, out);
      std::sort(out, end);
      out = end;
    }
  }
  return plan;
}

struct stable_sort {
  tightkv::plan operator()(tightkv::matrix_view<float const> scores) const { return sorted(scores, scores.cols); }
  static bool right(tightkv::plan const& p, tightkv::matrix_view<float const>) { return p.evicts(); }
};
struct top_k {
  tightkv::plan operator()(tightkv::matrix_view<float const> scores) const {
    tightkv::cpu const ex;
    tightkv::candidates from(ex.resource());
    for (int h = 0; h < scores.rows; ++h) from.add(scores.cols, {}, scores.cols / 4);
    return tightkv::top_k{}.select(ex, scores, from);
  }
  static bool right(tightkv::plan const& p, tightkv::matrix_view<float const> scores) {
    return p == sorted(scores, scores.cols);
  }
};
/// The last partition is only there to be compared with, and stays.
struct partition_top_k {
  tightkv::plan operator()(tightkv::matrix_view<float const> scores) const {
    std::vector<int> const lengths(static_cast<std::size_t>(scores.rows), scores.cols);
    std::vector<int> const first(lengths.size(), 0);
    return tightkv::partition_top_k{lag / 4}.select(tightkv::cpu{}, scores, lengths, {.first = first, .lag = lag});
  }
  static bool right(tightkv::plan const& p, tightkv::matrix_view<float const> scores) {
    auto const all = sorted(scores, lag);
    for (int h = 0; h < p.heads(); ++h) {
      auto const judged = all.kept(h).first(all.kept(h).size() - lag / 4);
      if (!std::equal(judged.begin(), judged.end(), p.kept(h).begin())) return false;
    }
    return p.after(0) == all.after(0) + lag - lag / 4;
  }
};

void read_scores(benchmark::State& state) {
  score_matrices<normal> scores(state);
  for (auto _ : state) bench::read(scores.next().data, scores.bytes(), state.range(2));
  bench::report(state, static_cast<double>(scores.bytes()), scores.heads * scores.tokens);
}

template <class Selector, class Distribution>
void select(benchmark::State& state) {
  score_matrices<Distribution> scores(state);
  Selector const selector{};
  auto const first = scores.next();
  bench::require(state, selector.right(selector(first), first), "other tokens are the best");

  for (auto _ : state) benchmark::DoNotOptimize(selector(scores.next()));
  bench::report(state, static_cast<double>(scores.bytes()), scores.heads * scores.tokens, "read_scores");
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens"})->ArgsProduct({{8}, {8192, 32768}})->Unit(benchmark::kMillisecond);
}
void floors(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "streams"})->ArgsProduct({{8}, {8192, 32768}, {1, 4}})->Unit(benchmark::kMillisecond);
}

BENCHMARK(read_scores)->Apply(floors);
BENCHMARK(select<stable_sort, normal>)->Apply(shapes);
BENCHMARK(select<top_k, normal>)->Apply(shapes);
BENCHMARK(select<top_k, all_equal>)->Apply(shapes);
BENCHMARK(select<top_k, shared_leading_bits>)->Apply(shapes);
BENCHMARK(select<top_k, infinities>)->Apply(shapes);
BENCHMARK(select<partition_top_k, normal>)->Apply(shapes);
BENCHMARK(select<partition_top_k, all_equal>)->Apply(shapes);
BENCHMARK(select<partition_top_k, shared_leading_bits>)->Apply(shapes);
BENCHMARK(select<partition_top_k, infinities>)->Apply(shapes);

}  // namespace
