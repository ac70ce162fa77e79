// SPDX-License-Identifier: Apache-2.0
/// Statistics for merging heads. Arithmetic bounds these: the floor is Eigen's own matrix product of as many
/// multiply-adds, in the type that the kernel multiplies in. A Gram matrix is symmetric, so half of a full product's
/// multiply-adds are counted.
#include <cmath>
#include <cstddef>
#include <random>
#include <type_traits>
#include <vector>

#include <benchmark/benchmark.h>
#include <Eigen/Core>

#include <support/floors.hpp>
#include <support/report.hpp>
#include <tightkv/mergers/eigen_cpu.hpp>
#include <tightkv/mergers/gram.hpp>
#include <tightkv/ops/project_heads.hpp>
#include <tightkv/view/layouts.hpp>

namespace {

/// Keys of a layer, `[token][head][head_dim]`, as an engine has them.
template <class T>
struct keys {
  int heads, tokens, head_dim;
  std::vector<T> data;

  explicit keys(benchmark::State const& state)
      : heads(static_cast<int>(state.range(0))),
        tokens(static_cast<int>(state.range(1))),
        head_dim(static_cast<int>(state.range(2))) {
    std::mt19937 random(1);
    std::normal_distribution<float> bell;
    for (int i = 0; i < tokens * size(); ++i) data.push_back(T(bell(random)));
  }
  int size() const { return heads * head_dim; }
  auto rows() const { return tightkv::nhd(data.data(), {heads, tokens, head_dim}); }
  double half_product() const { return 0.5 * tokens * size() * (size() + 1.0); }
  double projection() const { return 1.0 * tokens * size() * head_dim; }
};

template <class T>
void finish(benchmark::State& state, keys<T> const& k, double multiply_adds, char const* floor) {
  bench::report(state, static_cast<double>(k.data.size()) * sizeof(T), k.tokens, floor);
  bench::report_flops(state, 2 * multiply_adds);
}

/// X^T Y, as wide as the Gram matrix and with as many multiply-adds as half of it: of half as many tokens.
template <class Scalar>
void eigen_product(benchmark::State& state) {
  using matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
  keys<float> const k(state);
  matrix const x = matrix::Random(k.size(), k.tokens / 2);
  matrix const y = matrix::Random(k.tokens / 2, k.size());
  matrix product = matrix::Zero(k.size(), k.size());
  for (auto _ : state) {
    product.noalias() += x * y;
    benchmark::DoNotOptimize(product.data());
    benchmark::ClobberMemory();
  }
  finish(state, k, k.half_product(), "");
}

template <class Executor, class T>
void gram_update(benchmark::State& state) {
  keys<T> const k(state);
  tightkv::gram sums(k.size());
  Executor const ex;
  sums.add(ex, k.rows());
  auto const at = [&](int t, int c) {
    return static_cast<double>(static_cast<float>(k.data[static_cast<std::size_t>(t * k.size() + c)]));
  };
  constexpr bool in_double = std::is_same_v<Executor, tightkv::eigen_cpu>;
  double want = 0;
  for (int t = 0; t < k.tokens; ++t) want += at(t, 3) * at(t, k.size() - 1);
  double const tolerance = in_double ? 1e-9 : 1e-2;
  bench::require(state, std::abs(sums.products()(3, k.size() - 1) - want) < tolerance, "the sums are wrong");

  for (auto _ : state) {
    sums.add(ex, k.rows());
    benchmark::ClobberMemory();
  }
  finish(state, k, k.half_product(), in_double ? "eigen_product<double>" : "eigen_product<float>");
}

/// As many multiply-adds as a projection needs, in registers.
void multiply_adds(benchmark::State& state) {
  keys<float> const k(state);
  for (auto _ : state) bench::multiply_add(k.projection());
  finish(state, k, k.projection(), "");
}

/// R2 keys at run time: all heads into one. The matrix holds numbers that are bfloat16, as most weights are.
template <class T>
void project_heads(benchmark::State& state) {
  keys<T> const k(state);
  std::vector<float> const matrix(static_cast<std::size_t>(k.size() * k.head_dim), 0.5F);
  std::vector<T> out(static_cast<std::size_t>(k.tokens * k.head_dim));
  auto const to = tightkv::hnd(out.data(), {1, k.tokens, k.head_dim});
  tightkv::cpu const ex;
  tightkv::project_heads(ex, k.rows(), {matrix.data(), k.size(), k.head_dim}, to);
  double want = 0;
  for (int c = 0; c < k.size(); ++c)
    want += 0.5 * static_cast<double>(static_cast<float>(k.data[static_cast<std::size_t>(c)]));
  bench::require(state, std::abs(static_cast<double>(static_cast<float>(out[7])) - want) < 1e-2, "the rows are wrong");

  for (auto _ : state) {
    tightkv::project_heads(ex, k.rows(), {matrix.data(), k.size(), k.head_dim}, to);
    benchmark::ClobberMemory();
  }
  finish(state, k, k.projection(), "multiply_adds");
}

void layers(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "tokens", "head_dim"})->Unit(benchmark::kMillisecond);
  b->Args({3, 1024, 64})->Args({9, 1024, 64})->Args({8, 1024, 128});
}

BENCHMARK(eigen_product<double>)->Apply(layers);
BENCHMARK(eigen_product<float>)->Apply(layers);
BENCHMARK(gram_update<tightkv::eigen_cpu, float>)->Apply(layers);
BENCHMARK(gram_update<tightkv::eigen_cpu, tightkv::half>)->Apply(layers);
BENCHMARK(gram_update<tightkv::cpu, float>)->Apply(layers);
BENCHMARK(gram_update<tightkv::cpu, tightkv::half>)->Apply(layers);
BENCHMARK(multiply_adds)->Apply(layers);
BENCHMARK(project_heads<float>)->Apply(layers);
BENCHMARK(project_heads<tightkv::half>)->Apply(layers);
BENCHMARK(project_heads<tightkv::bfloat16>)->Apply(layers);

}  // namespace
