// SPDX-License-Identifier: Apache-2.0
/// `project_heads` on a GPU: a matrix product whose rows are taken from wherever they lie.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/block.cuh>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/memory.cuh>
#include <tightkv/ops/project_heads.hpp>

namespace tightkv {
namespace detail {

struct project_heads_tuning {
  static constexpr int tokens = 64;    // of a block
  static constexpr int outputs = 128;  // channels of a block
  static constexpr int inputs = 32;    // channels that lie in shared memory at a time
  static constexpr int side = 16;      // threads along either
  static constexpr int threads = side * side;
  static constexpr int stride = tokens + 1;
  static constexpr int tokens_each = tokens / side;
  static constexpr int outputs_each = outputs / side;
  static constexpr std::size_t shared_bytes = sizeof(float) * inputs * (stride + outputs);
};

/// How heads read become heads written.
struct projection_shape {
  int together;  // heads read for each written
  int inputs;    // channels of these
  int heads_per_matrix;
};

/// A block has some tokens and channels of a head written; a thread 4 x 8 of its sums, each in the order of the
/// channels read.
template <class From, class To>
__global__ void __launch_bounds__(project_heads_tuning::threads)
    project_heads_kernel(__grid_constant__ From const from, int first_head, projection_shape s,
                         matrix_view<float const, device_memory> matrices, __grid_constant__ To const to) {
  using tuning = project_heads_tuning;
  int const o = first_head + static_cast<int>(blockIdx.x);
  auto const target = to.head(o);
  int const first_token = static_cast<int>(blockIdx.y) * tuning::tokens;
  int const first_output = static_cast<int>(blockIdx.z) * tuning::outputs;
  if (first_token >= target.tokens()) return;
  int const first_row = o / s.heads_per_matrix * s.inputs;
  int const head_dim = from.head_dim();
  auto const rows = dynamic_shared<float>();                    // [channel][token]
  auto const factors = rows + tuning::inputs * tuning::stride;  // [channel][output]
  int const thread = static_cast<int>(threadIdx.x);
  int const token = thread / tuning::side * tuning::tokens_each;
  int const output = thread % tuning::side;

  float sum[tuning::tokens_each][tuning::outputs_each] = {};
  for (int first = 0; first < s.inputs; first += tuning::inputs) {
    __syncthreads();
    for (int i = thread; i < tuning::tokens * tuning::inputs; i += tuning::threads) {
      int const t = first_token + i / tuning::inputs;
      int const channel = first + i % tuning::inputs;
      float x = 0.0F;
      if (t < target.tokens() && channel < s.inputs)
        x = to_float(load(&from.head(o * s.together + channel / head_dim)[t][channel % head_dim]));
      rows[i % tuning::inputs * tuning::stride + i / tuning::inputs] = x;
    }
    for (int i = thread; i < tuning::inputs * tuning::outputs; i += tuning::threads) {
      int const channel = first + i / tuning::outputs;
      int const r = first_output + i % tuning::outputs;
      bool const there = channel < s.inputs && r < matrices.cols;
      factors[i] = there ? load(matrices.row(first_row + channel) + r) : 0.0F;
    }
    __syncthreads();
    for (int c = 0; c < tuning::inputs && first + c < s.inputs; ++c) {
      float x[tuning::tokens_each];
      float m[tuning::outputs_each];
#pragma unroll
      for (int i = 0; i < tuning::tokens_each; ++i) x[i] = rows[c * tuning::stride + token + i];
#pragma unroll
      for (int j = 0; j < tuning::outputs_each; ++j) m[j] = factors[c * tuning::outputs + output + tuning::side * j];
#pragma unroll
      for (int i = 0; i < tuning::tokens_each; ++i) {
#pragma unroll
        for (int j = 0; j < tuning::outputs_each; ++j) sum[i][j] = fma(x[i], m[j], sum[i][j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < tuning::tokens_each; ++i) {
    int const t = first_token + token + i;
    if (t >= target.tokens()) continue;
    auto const row = target[t];
#pragma unroll
    for (int j = 0; j < tuning::outputs_each; ++j) {
      int const r = first_output + output + tuning::side * j;
      if (r < row.size) store(&row[r], static_cast<typename To::value_type>(sum[i][j]));
    }
  }
}

}  // namespace detail

template <>
struct kernel<project_heads_fn, cuda> {
  template <class From, class To>
  static void run(cuda const& ex, From const& from, matrix_view<float const, device_memory> const& matrices,
                  To const& to) {
    using tuning = detail::project_heads_tuning;
    int const together = from.heads() / to.heads();
    int const inputs = together * from.head_dim();
    detail::projection_shape const s{together, inputs, to.heads() / (matrices.rows / inputs)};
    int const at_once = std::min(detail::heads_at_once(to), detail::heads_at_once(from) / together);
    for (int first = 0; first < to.heads();) {
      int const heads = std::min(at_once, to.heads() - first);
      auto const source = detail::part_of(from, first * together, heads * together);
      auto const target = detail::part_of(to, first, heads);
      using from_type = std::remove_cvref_t<decltype(source)>;
      using to_type = std::remove_cvref_t<decltype(target)>;
      detail::launch(ex, "project_heads", detail::project_heads_kernel<from_type, to_type>,
                     {dim3(static_cast<unsigned>(heads), detail::blocks_for(longest(to), tuning::tokens),
                           detail::blocks_for(to.head_dim(), tuning::outputs)),
                      tuning::threads, tuning::shared_bytes},
                     source, first, s, matrices, target);
      first += heads;
    }
  }
};

}  // namespace tightkv
