// SPDX-License-Identifier: Apache-2.0
/// `rank_tokens` on a GPU: a block sorts the keys of each block of tokens.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <tightkv/cuda/matrix.cuh>
#include <tightkv/cuda/per_head.cuh>
#include <tightkv/cuda/row_team.cuh>
#include <tightkv/ops/rank_tokens.hpp>

namespace tightkv {
namespace detail {

struct rank_tokens_tuning {
  static constexpr int threads = 512;
  static constexpr int in_shared = 4096;  // keys sorted without going back to global memory
};

/// Keys of a block of tokens: in shared memory where they fit, in scratch where not.
struct sort_room {
  shared<std::uint64_t> near;
  std::uint64_t* far;

  __device__ std::uint64_t get(int i) const {
    if (far != nullptr) return load(far + i);
    std::uint64_t const x = near[i];
    return x;
  }
  __device__ void set(int i, std::uint64_t x) const {
    if (far != nullptr) {
      store(far + i, x);
    } else {
      near[i] = x;
    }
  }
};

/// Bitonic sort, ascending; n is a power of two. For all threads of the block.
__device__ inline void sort_keys(sort_room const& keys, int n) {
  for (int run = 2; run <= n; run *= 2) {
    for (int apart = run / 2; apart > 0; apart /= 2) {
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < n / 2; i += static_cast<int>(blockDim.x)) {
        int const low = i / apart * 2 * apart + i % apart;
        std::uint64_t const a = keys.get(low);
        std::uint64_t const b = keys.get(low + apart);
        bool const ascends = (low & run) == 0;
        if (ascends == (a > b)) {
          keys.set(low, b);
          keys.set(low + apart, a);
        }
      }
    }
  }
  __syncthreads();
}

template <class Range>
__global__ void __launch_bounds__(rank_tokens_tuning::threads)
    rank_tokens_kernel(matrix_view<float, device_memory> scores, per_head<Range> ranges, int tokens_at_once, int size,
                       float divisor, std::uint64_t* scratch) {
  int const h = static_cast<int>(blockIdx.x);
  auto const range = ranges[h];
  if (static_cast<int>(blockIdx.y) > (range.end - range.begin - 1) / tokens_at_once || range.begin == range.end) return;
  int const begin = range.begin + static_cast<int>(blockIdx.y) * tokens_at_once;
  int const n = range.end - begin < tokens_at_once ? range.end - begin : tokens_at_once;
  std::ptrdiff_t const block = static_cast<std::ptrdiff_t>(blockIdx.x) * gridDim.y + blockIdx.y;
  sort_room const keys{dynamic_shared<std::uint64_t>(), scratch == nullptr ? nullptr : scratch + block * size};
  for (int i = static_cast<int>(threadIdx.x); i < size; i += static_cast<int>(blockDim.x)) {
    keys.set(i, i < n ? selection_key(load(&scores(h, begin + i)), begin + i) : ~std::uint64_t{0});
  }
  sort_keys(keys, size);
  for (int rank = static_cast<int>(threadIdx.x); rank < n; rank += static_cast<int>(blockDim.x)) {
    std::uint64_t const key = keys.get(rank);
    bool const is_nan = key >> 32 == 0;
    if (!is_nan) store(&scores(h, token_of(key)), static_cast<float>(rank) / divisor);
  }
}

}  // namespace detail

template <>
struct kernel<rank_tokens_fn, cuda> {
  static void run(cuda const& ex, scores_view<cuda> scores, rank_tokens_fn::parameters const& p) {
    using tuning = detail::rank_tokens_tuning;
    int longest_range = 0;
    for (auto const& r : p.ranges) longest_range = std::max(longest_range, r.size());
    if (longest_range == 0) return;
    auto const ranges = detail::table_of(ex, p.ranges);
    int const tokens_at_once = std::min(p.block, longest_range);
    auto const size = static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::max(2, tokens_at_once))));
    dim3 const grid(static_cast<unsigned>(scores.rows), detail::blocks_for(longest_range, tokens_at_once));
    bool const near = size <= tuning::in_shared;
    auto const keys = static_cast<std::size_t>(size);
    detail::device_array<std::uint64_t> const scratch(ex, near ? 0 : keys * grid.x * grid.y);
    detail::launch(ex, "rank_tokens", detail::rank_tokens_kernel<token_range>,
                   {grid, static_cast<unsigned>(std::clamp(size / 2, detail::warp_size, tuning::threads)),
                    near ? sizeof(std::uint64_t) * keys : 0},
                   scores, ranges.view(), tokens_at_once, size, p.divisor, scratch.data());
  }
};

}  // namespace tightkv
