// SPDX-License-Identifier: Apache-2.0
/// `lag_scores` on a GPU: one read of keys and values, walking backwards; the same bits as the plain kernel.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/lag_team.cuh>
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
  int stage_bytes;
  float value_weight;
};

/// The spread of a row, from the sum of its squared deviations, which is 0 where there are not two channels.
__device__ inline float spread_of(float squares, int channels) {
  return channels < 2 ? squares : std::sqrt(squares / static_cast<float>(channels - 1));
}

/// Of each row's squared deviations, what the plain kernel's softmax has above the line; returns their sum, which runs
/// in 16 lanes. NaN entries take no part. `room` has a float per warp. For all threads of the block, each of which
/// finds the numerators that it left.
__device__ inline float softmax_sum(shared<float> x, int n, int channels, shared<float> room) {
  float most = -infinite;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += lag_tuning::threads) {
    float const y = x[i];
    most = y > most ? y : most;
  }
  // As `over_block`, whose last barrier is not needed: another one follows before `room` is written again.
  most = over_warp(most, most_of{});
  if (lane_of_warp() == 0) room[warp_of_block()] = most;
  __syncthreads();
  for (int w = 0; w < lag_tuning::warps; ++w) {
    float const y = room[w];
    most = y > most ? y : most;
  }
  float const largest = spread_of(most, channels);
  for (int i = static_cast<int>(threadIdx.x); i < n; i += lag_tuning::threads) {
    float const u = spread_of(x[i], channels);
    x[i] = u == u ? exp(u - largest) : u;
  }
  __syncthreads();
  float sum = 0.0F;
  int const end = lane_of_warp() < lane_sum::lanes ? n : 0;
#pragma unroll 8
  for (int i = lane_of_warp(); i < end; i += lane_sum::lanes) {
    float const u = x[i];
    if (u == u) sum += u;
  }
  for (int other = lane_sum::lanes / 2; other > 0; other /= 2) sum += __shfl_xor_sync(all_lanes, sum, other);
  return __shfl_sync(all_lanes, sum, 0);
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

/// A block goes through some partitions of the keys, then of the values, if there are any.
template <int Steps, class Keys, class Values>
__global__ void __launch_bounds__(lag_tuning::threads, lag_team<typename Keys::value_type>::blocks(Steps))
    lag_scores_kernel(__grid_constant__ lag_job const job, int first_head, matrix_view<float, device_memory> out,
                      __grid_constant__ Keys const keys, __grid_constant__ Values const values) {
  int const h = first_head + static_cast<int>(blockIdx.x);
  int const first = job.first[h];
  int const lag = job.lag;
  int const tokens = keys.head(h).tokens();
  int const judged = tokens - first < 2 * lag ? 0 : (tokens - first) / lag - 1;
  if (blockIdx.y == 0) {
    fill_unjudged(out, h, 0, judged == 0 ? tokens : first);
    fill_unjudged(out, h, judged == 0 ? tokens : first + judged * lag, tokens);
  }
  int const skipped = static_cast<int>(blockIdx.y) * job.partitions_per_block;
  if (skipped >= judged) return;
  int const mine = job.partitions_per_block < judged - skipped ? job.partitions_per_block : judged - skipped;
  int const begin = first + skipped * lag;

  lag_shared const memory{job.stage_bytes, Steps * lane_sum::lanes, lag};
  auto const spreads = memory.spreads();

  auto const walk = [&](auto const& rows, auto const& with_the_other_plane) {
    using rows_type = std::remove_cvref_t<decltype(rows)>;
    auto const head = rows.head(h);
    lag_walk<std::remove_cvref_t<decltype(head)>, typename rows_type::value_type, Steps> walker(
        head, rows.head_dim(), lag, begin, begin + mine * lag, memory);
    for (int p = mine; p >= 0; --p) {
      walker.partition(p < mine, spreads);
      if (p == mine) continue;
      float const sum = softmax_sum(spreads, lag, walker.channels(), memory.largest());
      for (int i = static_cast<int>(threadIdx.x); i < lag; i += lag_tuning::threads) {
        float* const score = &out(h, begin + p * lag + i);
        store(score, with_the_other_plane(spreads[i] / sum, score));
      }
    }
  };
  auto const add_to_keys = [&](float x, float const* score) { return fma(job.value_weight, x, load(score)); };
  if constexpr (std::is_same_v<Keys, Values>) {
#pragma unroll 1
    for (int plane = 0; plane < 2; ++plane) {  // one copy of the code
      walk(plane == 0 ? keys : values,
           [&](float x, float const* score) { return plane == 0 ? x : add_to_keys(x, score); });
    }
  } else {
    walk(keys, [](float x, float const*) { return x; });
    if constexpr (!std::is_same_v<Values, absent_plane>) walk(values, add_to_keys);
  }
}

}  // namespace detail

template <>
struct kernel<lag_scores_fn, cuda> {
  /// How many of a head's partitions a block judges; it reads one more. The split that keeps the device busiest: few
  /// blocks read little twice, but the last of them to run should not be alone.
  static int partitions_per_block(int heads, int judged, int resident_blocks) noexcept {
    double best = 0;
    int best_split = 1;
    for (int split = 1; split <= std::min(judged, 64); ++split) {
      double const turns = static_cast<double>(heads) * split / resident_blocks;
      double const busy = turns / std::ceil(turns) * judged / (judged + split);
      if (busy <= best) continue;
      best = busy;
      best_split = split;
    }
    return std::max(1, (judged + best_split - 1) / best_split);
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

  static int processors_of(cuda const& ex) {
    if (detail::only_measures(ex)) return 1;
    int device = 0;
    int processors = 0;
    detail::check(cudaGetDevice(&device), "asking for the device");
    detail::check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
                  "asking for multiprocessors");
    return std::max(1, processors);
  }

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
    int most = 0;
    for (int h = heads.first; h < heads.first + heads.count; ++h) {
      most = std::max(most, p.partitions.judged(h, view.tokens(h)));
    }
    int const lag = p.partitions.lag;
    detail::expects(lag <= detail::lag_tuning::most_lag, "lag_scores", "lag must be at most 16384 on a GPU", "lag",
                    lag);
    int const resident = processors_of(ex) * detail::lag_team<typename Keys::value_type>::blocks(Steps);
    int const per_block = partitions_per_block(heads.count, most, resident);
    dim3 const grid(static_cast<unsigned>(heads.count), std::max(1U, detail::blocks_for(most, per_block)));

    auto const first = detail::table_of(ex, p.partitions.first);
    detail::lag_job const job{.first = first.view(),
                              .lag = lag,
                              .partitions_per_block = per_block,
                              .stage_bytes = std::max(stage_bytes<Steps>(keys), stage_bytes<Steps>(values)),
                              .value_weight = p.value_weight};
    detail::lag_shared const memory{job.stage_bytes, Steps * detail::lane_sum::lanes, lag};
    detail::launch(ex, "lag_scores", detail::lag_scores_kernel<Steps, Keys, Values>,
                   {grid, detail::lag_tuning::threads, static_cast<std::size_t>(memory.bytes())}, job, heads.first, out,
                   keys, values);
  }

  template <int Steps, class P>
  static int stage_bytes(P const& rows) {
    if constexpr (std::is_same_v<P, detail::absent_plane>) {
      return 0;
    } else {
      return detail::lag_team<typename P::value_type>::stage_bytes(rows.head_dim(), Steps * detail::lane_sum::lanes);
    }
  }
};

}  // namespace tightkv
