// SPDX-License-Identifier: Apache-2.0
/// `pool_tokens` on a GPU, in place: a block goes along a row and remembers the scores that it has written over.
#pragma once

#include <cmath>
#include <cstddef>

#include <tightkv/cuda/matrix.cuh>
#include <tightkv/cuda/per_head.cuh>
#include <tightkv/ops/pool_tokens.hpp>

namespace tightkv {
namespace detail {

struct pool_tokens_tuning {
  static constexpr int threads = 256;
  static constexpr int tile = 1024;  // tokens between two barriers
  static constexpr int widest = 8191;
};

template <class Length>
__global__ void __launch_bounds__(pool_tokens_tuning::threads)
    pool_tokens_kernel(matrix_view<float, device_memory> scores, per_head<Length> lengths, int width, pooling how) {
  constexpr int tile = pool_tokens_tuning::tile;
  int const h = static_cast<int>(blockIdx.x);
  int const length = lengths[h];
  int const reach = width / 2;
  // Scores [first - reach, first + tile + reach) as they were; zeros outside the row.
  auto const in = dynamic_shared<float>();
  auto const behind = in + (tile + 2 * reach);
  for (int first = 0; first < length; first += tile) {
    for (int i = static_cast<int>(threadIdx.x); i < tile + 2 * reach; i += pool_tokens_tuning::threads) {
      int const t = first - reach + i;
      if (i < reach && first > 0) {
        in[i] = static_cast<float>(behind[i]);
      } else {
        in[i] = 0 <= t && t < length ? load(&scores(h, t)) : 0.0F;
      }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < reach; i += pool_tokens_tuning::threads) {
      behind[i] = static_cast<float>(in[tile + i]);
    }
    for (int i = static_cast<int>(threadIdx.x); i < tile && first + i < length; i += pool_tokens_tuning::threads) {
      float const own = in[reach + i];
      if (own != own) continue;
      float sum = 0.0F;
      float most = own;
      for (int j = 0; j < width; ++j) {
        float x = in[i + j];
        x = x != x ? 0.0F : x;
        sum += x;
        most = most < x ? x : most;
      }
      store(&scores(h, first + i), how == pooling::average ? sum / static_cast<float>(width) : most);
    }
    __syncthreads();
  }
}

}  // namespace detail

template <>
struct kernel<pool_tokens_fn, cuda> {
  static void run(cuda const& ex, scores_view<cuda> scores, pool_tokens_fn::parameters const& p) {
    using tuning = detail::pool_tokens_tuning;
    detail::expects(p.width <= tuning::widest, "pool_tokens", "width must be at most 8191 on a GPU", "width", p.width);
    auto const lengths = detail::table_of(ex, p.lengths);
    auto const floats = static_cast<std::size_t>(tuning::tile + 3 * (p.width / 2));
    detail::launch(ex, "pool_tokens", detail::pool_tokens_kernel<int>,
                   {static_cast<unsigned>(scores.rows), tuning::threads, sizeof(float) * floats}, scores,
                   lengths.view(), p.width, p.pooling);
  }
};

}  // namespace tightkv
