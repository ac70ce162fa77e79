// SPDX-License-Identifier: Apache-2.0
/// `lag_scores` on a GPU: one read of keys and values, walking backwards; the same bits as the plain kernel.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/lag_walk.cuh>
#include <tightkv/cuda/per_head.cuh>
#include <tightkv/ops/lag_scores.hpp>

namespace tightkv {
namespace detail {

/// What the kernel is told beside the planes. A block judges `partitions_per_block` partitions, and reads one more.
struct lag_job {
  per_head<int> first;
  int lag;
  int partitions_per_block;
  float value_weight;
  float* far_spreads;  // 4 * lag for each block, where they do not fit in shared memory
};

/// The block's shared memory. There are two of each list of spreads: one is read while the next is written.
template <int Steps>
struct lag_shared {
  static constexpr int dim = Steps * lane_sum::lanes;
  static constexpr int ring_bytes = lag_tuning::stages * row_team<float, 4>::per_warp * (dim + lane_sum::lanes) * 4;
  int planes;
  int lag;  // 0 where the spreads are elsewhere

  TIGHTKV_HD int rings_bytes() const { return planes * lag_tuning::warps * ring_bytes; }
  TIGHTKV_HD int bytes() const {
    int const floats = planes * (2 * lag + 2 * dim + lag_tuning::warps * 2 * dim + 1);
    return rings_bytes() + floats * static_cast<int>(sizeof(float));
  }

  template <class T>
  __device__ row_ring<T, Steps> ring(int warp) const {
    static_assert(row_ring<T, Steps>::size * sizeof(T) <= ring_bytes);
    return {dynamic_shared<T>(static_cast<std::size_t>(warp * ring_bytes))};
  }
  __device__ shared<float> spreads(int plane, int turn) const { return floats(0) + (plane * 2 + turn) * lag; }
  __device__ shared_ranges ranges(int plane) const {
    auto const low = floats(planes * 2 * lag) + plane * 2 * dim;
    auto const counts = shared_as<int>(floats(planes * (2 * lag + 2 * dim + lag_tuning::warps * 2 * dim)) + plane);
    return {low, low + dim, counts};
  }
  /// What one warp found: low, then high.
  __device__ shared<float> of_warp(int warp) const { return floats(planes * (2 * lag + 2 * dim)) + warp * 2 * dim; }

 private:
  __device__ shared<float> floats(int i) const {
    return dynamic_shared<float>(static_cast<std::size_t>(rings_bytes())) + i;
  }
};

/// From the ranges that the warps of a plane found, those of the plane. For the threads of one warp.
template <int Steps>
__device__ void join_ranges(lag_shared<Steps> const& memory, int plane, int head_dim) {
  int const lane = static_cast<int>(threadIdx.x) % warp_size;
  auto const to = memory.ranges(plane);
  int channels = 0;
  for (int c = lane; c < lag_shared<Steps>::dim; c += warp_size) {
    float low = infinite;
    float high = -infinite;
    for (int w = 0; w < lag_tuning::warps; ++w) {
      auto const found = memory.of_warp(plane * lag_tuning::warps + w);
      low = fminf(low, found[c]);
      high = fmaxf(high, found[lag_shared<Steps>::dim + c]);
    }
    float const range = high - low;
    bool const counts = c < head_dim && range > 0.0F && is_finite(range) && is_finite(1.0F / range);
    to.low[c] = low;
    to.scale[c] = counts ? 1.0F / range : 0.0F;
    channels += __popc(__ballot_sync(all_lanes, counts));
  }
  if (lane == 0) to.channels[0] = channels;
}

/// As the plain kernel's: NaN entries take no part, the sum runs in 16 lanes. For the threads of one warp.
__device__ inline void softmax_of_warp(spread_list const& x, int n) {
  int const lane = static_cast<int>(threadIdx.x) % warp_size;
  float most = -infinite;
  for (int i = lane; i < n; i += warp_size) {
    float const u = x.get(i);
    most = u > most ? u : most;
  }
  for (int other = warp_size / 2; other > 0; other /= 2) most = fmaxf(most, __shfl_xor_sync(all_lanes, most, other));
  for (int i = lane; i < n; i += warp_size) {
    float const u = x.get(i);
    if (u == u) x.set(i, exp(u - most));
  }
  __syncwarp();
  float sum = 0.0F;
  for (int i = lane; lane < lane_sum::lanes && i < n; i += lane_sum::lanes) {
    float const u = x.get(i);
    if (u == u) sum += u;
  }
  for (int other = lane_sum::lanes / 2; other > 0; other /= 2) sum += __shfl_xor_sync(all_lanes, sum, other);
  float const total = __shfl_sync(all_lanes, sum, 0);
  __syncwarp();
  for (int i = lane; i < n; i += warp_size) x.set(i, x.get(i) / total);
}

/// Tokens [begin, end) are not judged. For all threads of the block.
__device__ inline void fill_unjudged(matrix_view<float, device_memory> out, int h, int begin, int end) {
  for (int t = begin + static_cast<int>(threadIdx.x); t < end; t += static_cast<int>(blockDim.x)) {
    store(&out(h, t), unjudged);
  }
}

struct absent_plane {
  TIGHTKV_HD int head_dim() const { return 0; }
};

/// The first half of the threads has the keys, the other the values, if there are any.
template <int Steps, class Keys, class Values>
__global__ void __launch_bounds__(2 * lag_tuning::threads, Steps <= 8 ? 2 : 1)
    lag_scores_kernel(__grid_constant__ lag_job const job, int first_head, matrix_view<float, device_memory> out,
                      __grid_constant__ Keys const keys, __grid_constant__ Values const values) {
  constexpr int planes = std::is_same_v<Values, absent_plane> ? 1 : 2;
  int const h = first_head + static_cast<int>(blockIdx.x);
  int const first = job.first[h];
  int const lag = job.lag;
  int const tokens = keys.head(h).tokens();
  int const judged = tokens - first < 2 * lag ? 0 : (tokens - first) / lag - 1;
  if (blockIdx.y == 0) {
    fill_unjudged(out, h, 0, judged == 0 ? tokens : first);
    fill_unjudged(out, h, judged == 0 ? tokens : first + judged * lag, tokens);
  }
  int const lowest = static_cast<int>(blockIdx.y) * job.partitions_per_block;
  if (lowest >= judged) return;
  int const highest = lowest + job.partitions_per_block < judged ? lowest + job.partitions_per_block : judged;

  lag_shared<Steps> const memory{planes, job.far_spreads == nullptr ? lag : 0};
  auto const spreads = [&](int plane, int turn) -> spread_list {
    std::ptrdiff_t const block = static_cast<std::ptrdiff_t>(blockIdx.y) * gridDim.x + blockIdx.x;
    float* const far = job.far_spreads == nullptr ? nullptr : job.far_spreads + (block * 4 + plane * 2 + turn) * lag;
    return {memory.spreads(plane, turn), far};
  };
  int const warp = static_cast<int>(threadIdx.x) / warp_size;

  auto const join_and_score = [&](int p) {
    __syncthreads();
    if (warp < planes) {
      join_ranges(memory, warp, warp == 0 ? keys.head_dim() : values.head_dim());
    } else if (warp < 2 * planes && p < highest) {
      softmax_of_warp(spreads(warp - planes, p % 2), lag);
    }
    __syncthreads();
    if (p == highest) return;
    for (int i = static_cast<int>(threadIdx.x); i < lag; i += static_cast<int>(blockDim.x)) {
      float score = spreads(0, p % 2).get(i);
      if constexpr (planes == 2) score = fma(job.value_weight, spreads(1, p % 2).get(i), score);
      store(&out(h, first + p * lag + i), score);
    }
  };
  auto const walk = [&](int plane, auto const& rows) {
    using rows_type = std::remove_cvref_t<decltype(rows)>;
    lag_walk<rows_type, Steps> walker(rows.head(h), rows.head_dim(), warp % lag_tuning::warps, lag,
                                      first + lowest * lag, first + highest * lag,
                                      memory.template ring<typename rows_type::value_type>(warp));
    for (int p = highest; p >= lowest; --p) {
      walker.partition(memory.ranges(plane), p < highest, spreads(plane, p % 2));
      walker.give_ranges(memory.of_warp(warp), memory.of_warp(warp) + lag_shared<Steps>::dim);
      join_and_score(p);
    }
  };
  // Whole warps take either branch, and meet in the barriers of `join_and_score`.
  int const plane = warp / lag_tuning::warps;
  if constexpr (planes == 1) {
    walk(0, keys);
  } else if constexpr (std::is_same_v<Keys, Values>) {
    walk(plane, plane == 0 ? keys : values);  // one copy of the code
  } else if (plane == 0) {
    walk(0, keys);
  } else {
    walk(1, values);
  }
}

}  // namespace detail

template <>
struct kernel<lag_scores_fn, cuda> {
  /// How many partitions a block judges, of so many in all; it reads one more.
  static int partitions_per_block(std::ptrdiff_t partitions) noexcept {
    return static_cast<int>(std::clamp<std::ptrdiff_t>(partitions / enough_blocks, 4, 32));
  }

  template <class V>
  static void run(cuda const& ex, V const& view, lag_scores_fn::parameters const& p, scores_view<cuda> out) {
    if (view.heads() == 0) return;
    if constexpr (view_with_values<V>) {
      if (p.value_weight != 0.0F) {
        return detail::each_part(
            [&](int first, int heads, auto const& keys, auto const& values) {
              choose_steps(ex, view, p, out, {first, heads}, keys, values);
            },
            view.keys, view.values);
      }
    }
    detail::each_part(
        [&](int first, int heads, auto const& keys) {
          choose_steps(ex, view, p, out, {first, heads}, keys, detail::absent_plane{});
        },
        view.keys);
  }

 private:
  struct head_span {
    int first;
    int count;
  };
  static constexpr int most_channels = 256;
  // Fewer partitions to a block keep more of the device busy, but read more partitions twice.
  static constexpr int enough_blocks = 1024;

  template <class V, class... Planes>
  static void choose_steps(cuda const& ex, V const& view, lag_scores_fn::parameters const& p, scores_view<cuda> out,
                           head_span const& heads, Planes const&... planes) {
    int const head_dim = std::max({planes.head_dim()...});
    detail::expects(head_dim <= most_channels, "lag_scores", "head_dim must be at most 256 on a GPU", "head_dim",
                    head_dim);
    // Exactly so many channels are fastest.
    if (head_dim <= most_channels / 4) return run<4>(ex, view, p, out, heads, planes...);
    if (head_dim <= most_channels / 2) return run<8>(ex, view, p, out, heads, planes...);
    run<16>(ex, view, p, out, heads, planes...);
  }

  template <int Steps, class V, class Keys, class Values>
  static void run(cuda const& ex, V const& view, lag_scores_fn::parameters const& p, scores_view<cuda> out,
                  head_span const& heads, Keys const& keys, Values const& values) {
    constexpr int planes = std::is_same_v<Values, detail::absent_plane> ? 1 : 2;
    std::ptrdiff_t partitions = 0;
    int most = 0;
    for (int h = heads.first; h < heads.first + heads.count; ++h) {
      int const judged = p.partitions.judged(h, view.tokens(h));
      partitions += judged;
      most = std::max(most, judged);
    }
    int const lag = p.partitions.lag;
    int const per_block = partitions_per_block(partitions);
    dim3 const grid(static_cast<unsigned>(heads.count), std::max(1U, detail::blocks_for(most, per_block)));

    auto const first = detail::table_of(ex, p.partitions.first);
    bool const near = lag <= detail::lag_tuning::in_shared;
    detail::device_array<float> const far(ex,
                                          near ? 0 : std::size_t{4} * grid.x * grid.y * static_cast<std::size_t>(lag));
    detail::lag_job const job{.first = first.view(),
                              .lag = lag,
                              .partitions_per_block = per_block,
                              .value_weight = p.value_weight,
                              .far_spreads = far.data()};
    detail::lag_shared<Steps> const memory{planes, near ? lag : 0};
    detail::launch(
        ex, "lag_scores", detail::lag_scores_kernel<Steps, Keys, Values>,
        {grid, static_cast<unsigned>(planes * detail::lag_tuning::threads), static_cast<std::size_t>(memory.bytes())},
        job, heads.first, out, keys, values);
  }
};

}  // namespace tightkv
