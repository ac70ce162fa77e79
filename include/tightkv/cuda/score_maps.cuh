// SPDX-License-Identifier: Apache-2.0
/// Ops that work out each score by itself: `mark_unjudged`, `fill_tokens`, `larger_of`, `mean_of_heads`,
/// `random_scores`, `number_tokens`, `average_attention`.
#pragma once

#include <algorithm>
#include <cstdint>

#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/matrix.cuh>
#include <tightkv/cuda/memory.cuh>
#include <tightkv/cuda/per_head.cuh>
#include <tightkv/ops/average_attention.hpp>
#include <tightkv/ops/fill_tokens.hpp>
#include <tightkv/ops/larger_of.hpp>
#include <tightkv/ops/mark_unjudged.hpp>
#include <tightkv/ops/mean_of_heads.hpp>
#include <tightkv/ops/number_tokens.hpp>
#include <tightkv/ops/random_scores.hpp>

namespace tightkv {
namespace detail {

/// `map(row, column)` for every element.
template <class Map>
__global__ void each_element_kernel(__grid_constant__ Map const map, int cols) {
  int const col = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  if (col < cols) map(static_cast<int>(blockIdx.x), col);
}

template <class Map>
void each_element(cuda const& ex, char const* what, int rows, int cols, Map const& map) {
  constexpr int threads = 256;
  launch(ex, what, each_element_kernel<Map>, {dim3(static_cast<unsigned>(rows), blocks_for(cols, threads)), threads},
         map, cols);
}

using device_scores = matrix_view<float, device_memory>;
using const_device_scores = matrix_view<float const, device_memory>;

struct mark_unjudged_map {
  per_head<token_range> ranges;
  device_scores scores;

  __device__ void operator()(int h, int t) const {
    auto const range = ranges[h];
    if (t < range.begin || t >= range.end) store(&scores(h, t), unjudged);
  }
};

struct fill_tokens_map {
  per_head<token_range> ranges;
  float value;
  device_scores scores;

  __device__ void operator()(int h, int t) const {
    auto const range = ranges[h];
    if (range.begin <= t && t < range.end) store(&scores(h, t), value);
  }
};

struct larger_of_map {
  const_device_scores in;
  device_scores out;

  __device__ void operator()(int h, int t) const {
    float const a = load(&in(h, t));
    float const b = load(&out(h, t));
    if (!(a <= b) && b == b) store(&out(h, t), a);
  }
};

struct mean_of_heads_map {
  const_device_scores in;
  mean_of_heads_fn::shape shape;
  device_scores out;

  __device__ void operator()(int group, int t) const {
    float sum = 0.0F;
    for (int i = 0; i < shape.from; ++i) sum += load(&in(group * shape.from + i, t));
    float const mean = sum / static_cast<float>(shape.from);
    for (int i = 0; i < shape.into; ++i) store(&out(group * shape.into + i, t), mean);
  }
};

struct random_scores_map {
  matrix_view<int const, device_memory> tokens;
  std::uint64_t seed;
  device_scores out;

  __device__ void operator()(int h, int t) const { store(&out(h, t), random_score(seed, h, load(&tokens(h, t)))); }
};

struct number_tokens_map {
  per_head<token_range> ranges;
  per_head<int> first;
  matrix_view<int, device_memory> numbers;

  __device__ void operator()(int h, int t) const {
    auto const range = ranges[h];
    if (range.begin <= t && t < range.end) store(&numbers(h, t), first[h] + (t - range.begin));
  }
};

struct average_attention_map {
  const_device_scores mass;
  matrix_view<int const, device_memory> numbers;
  per_head<int> lengths;
  per_head<int> arrived;
  attention_average average;
  device_scores out;

  __device__ void operator()(int h, int t) const {
    if (t >= lengths[h]) return;
    int const queries = average == attention_average::sum ? 1 : arrived[h] - load(&numbers(h, t));
    store(&out(h, t), averaged(average, load(&mass(h, t)), queries));
  }
};

}  // namespace detail

template <>
struct kernel<mark_unjudged_fn, cuda> {
  static void run(cuda const& ex, std::span<token_range const> ranges, scores_view<cuda> scores) {
    token_range const all{0, scores.cols};
    if (std::all_of(ranges.begin(), ranges.end(), [&](token_range const& r) { return r == all; })) return;
    auto const table = detail::table_of(ex, ranges);
    detail::each_element(ex, "mark_unjudged", scores.rows, scores.cols,
                         detail::mark_unjudged_map{table.view(), scores});
  }
};

template <>
struct kernel<fill_tokens_fn, cuda> {
  static void run(cuda const& ex, std::span<token_range const> ranges, float value, scores_view<cuda> scores) {
    auto const table = detail::table_of(ex, ranges);
    detail::each_element(ex, "fill_tokens", scores.rows, scores.cols,
                         detail::fill_tokens_map{table.view(), value, scores});
  }
};

template <>
struct kernel<larger_of_fn, cuda> {
  static void run(cuda const& ex, detail::const_device_scores in, scores_view<cuda> out) {
    detail::each_element(ex, "larger_of", out.rows, out.cols, detail::larger_of_map{in, out});
  }
};

template <>
struct kernel<mean_of_heads_fn, cuda> {
  static void run(cuda const& ex, detail::const_device_scores in, mean_of_heads_fn::shape s, scores_view<cuda> out) {
    detail::each_element(ex, "mean_of_heads", out.rows / s.into, out.cols, detail::mean_of_heads_map{in, s, out});
  }
};

template <>
struct kernel<random_scores_fn, cuda> {
  static void run(cuda const& ex, matrix_view<int const, device_memory> tokens, std::uint64_t seed,
                  scores_view<cuda> out) {
    detail::each_element(ex, "random_scores", out.rows, out.cols, detail::random_scores_map{tokens, seed, out});
  }
};

template <>
struct kernel<number_tokens_fn, cuda> {
  static void run(cuda const& ex, number_tokens_fn::parameters const& p, matrix_view<int, device_memory> numbers) {
    auto const ranges = detail::table_of(ex, p.ranges);
    auto const first = detail::table_of(ex, p.first);
    detail::each_element(ex, "number_tokens", numbers.rows, numbers.cols,
                         detail::number_tokens_map{ranges.view(), first.view(), numbers});
  }
};

template <>
struct kernel<average_attention_fn, cuda> {
  static void run(cuda const& ex, detail::const_device_scores mass,
                  average_attention_parameters<device_memory> const& p, scores_view<cuda> out) {
    auto const lengths = detail::table_of(ex, p.lengths);
    auto const arrived = detail::table_of(ex, p.arrived);
    detail::each_element(
        ex, "average_attention", out.rows, out.cols,
        detail::average_attention_map{mass, p.numbers, lengths.view(), arrived.view(), p.average, out});
  }
};

}  // namespace tightkv
