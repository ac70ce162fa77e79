// SPDX-License-Identifier: Apache-2.0
/// `select_partitions` on a GPU: a warp per partition, its keys in registers; a block where they are too many for that.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <tightkv/cuda/select_top_k.cuh>
#include <tightkv/ops/select_partitions.hpp>

namespace tightkv {
namespace detail {

struct select_partitions_tuning {
  static constexpr int warps = 4;
  static constexpr int blocks = 4096;  // that are enough: then warps take several partitions each
  static constexpr int longest_of_warp = 1024;
  static constexpr int threads_for_long = 512;
};

/// Where a head's partitions lie, and its kept tokens.
struct partitions_of_head {
  int first, tokens, lag, quota;
  int* kept;

  __device__ int judged() const { return tokens - first < 2 * lag ? 0 : (tokens - first) / lag - 1; }
  /// As `partition < judged()`, without a division.
  __device__ bool judges(int partition) const {
    return (partition + std::int64_t{2}) * lag <= static_cast<std::int64_t>(tokens) - first;
  }
  /// Keeps the tokens outside of the judged partitions. For all threads of the block.
  __device__ void keep_outside() const {
    int const n = judged();
    int const begin = n == 0 ? tokens : first;
    int const end = n == 0 ? tokens : first + n * lag;
    write_all(kept, 0, begin);
    write_all(kept + begin + n * quota, end, tokens - end);
  }
  __device__ selection of(int partition, float const* scores) const {
    int const begin = first + partition * lag;
    return {scores + begin, begin, lag, quota, kept + first + partition * quota};
  }
};

/// The keys of up to 32 `Rounds` scores, of which a lane has every 32nd.
template <int Rounds>
struct keys_of_warp {
  std::uint32_t key[Rounds];  // 0 beyond the last
  int n;

  __device__ keys_of_warp(float const* scores, int count) : n(count) {
#pragma unroll
    for (int r = 0; r < Rounds; ++r) key[r] = there(r) ? ordered(load(scores + r * warp_size + lane_of_warp())) : 0;
  }

  __device__ bool there(int r) const { return r * warp_size + lane_of_warp() < n; }
  /// How many are at least `limit`, which is not 0.
  __device__ int count(std::uint32_t limit) const {
    int mine = 0;
#pragma unroll
    for (int r = 0; r < Rounds; ++r) {
      if (key[r] >= limit) ++mine;
    }
    return __reduce_add_sync(all_lanes, mine);
  }
  __device__ std::uint32_t most() const {
    std::uint32_t found = 0;
#pragma unroll
    for (int r = 0; r < Rounds; ++r) found = key[r] > found ? key[r] : found;
    return __reduce_max_sync(all_lanes, found);
  }
  __device__ std::uint32_t least() const {
    std::uint32_t found = ~0U;
#pragma unroll
    for (int r = 0; r < Rounds; ++r) found = there(r) && key[r] < found ? key[r] : found;
    return __reduce_min_sync(all_lanes, found);
  }

  /// Writes the numbers of those from `enough` on, and of the first `ties` that are one below, ascending.
  __device__ void write(std::uint32_t enough, int ties, int first, int* out) const {
    int const token = first + lane_of_warp();
    unsigned before = 0;
#pragma unroll
    for (int r = 0; r < Rounds; ++r) {
      unsigned kept = __ballot_sync(all_lanes, there(r) & (key[r] >= enough));
      if (ties > 0) {
        unsigned const equal = __ballot_sync(all_lanes, there(r) & (key[r] == enough - 1));
        kept |= first_bits(equal, ties);
        ties -= __popc(equal);
      }
      unsigned const place = before + static_cast<unsigned>(__popc(kept & lanes_before()));
      if ((kept & (lanes_before() + 1)) != 0) store(out + place, token + r * warp_size);
      before += static_cast<unsigned>(__popc(kept));
    }
  }
};

/// Writes the best of a partition, ascending. For the threads of a warp.
template <int Rounds>
__device__ void keep_best_of_warp(selection const& s, keys_of_warp<Rounds> const& keys, std::uint32_t least) {
  // Bit by bit from the highest in which keys differ, until exactly as many as are wanted reach the limit.
  std::uint32_t const most = keys.most();
  std::uint32_t bit = least == most ? 0 : 0x80000000U >> __clz(static_cast<int>(least ^ most));
  std::uint32_t limit = bit == 0 ? most : most & ~(bit | (bit - 1U));
  bool exact = s.n == s.count;
  for (; bit != 0 && !exact; bit >>= 1) {
    int const reach = keys.count(limit + bit);
    if (reach >= s.count) limit += bit;
    exact = reach == s.count;
  }
  if (exact) {
    keys.write(limit, 0, s.first, s.out);
  } else {
    keys.write(limit + 1, s.count - keys.count(limit + 1), s.first, s.out);
  }
}

template <int Rounds, class First>
__global__ void __launch_bounds__(select_partitions_tuning::warps* warp_size)
    select_partitions_kernel(matrix_view<float const, device_memory> scores, per_head<First> firsts, int lag, int quota,
                             device_plan p) {
  constexpr int warps = select_partitions_tuning::warps;
  int const h = static_cast<int>(blockIdx.y);
  partitions_of_head const head{firsts[h], p.before[h], lag, quota, p.kept_of(h)};
  if (blockIdx.x == 0) head.keep_outside();
  float const* const row = scores.row(h);
  int nans = 0;
  for (int i = static_cast<int>(blockIdx.x) * warps + warp_of_block(); head.judges(i);
       i += static_cast<int>(gridDim.x) * warps) {
    auto const s = head.of(i, row);
    keys_of_warp<Rounds> const keys(s.scores, s.n);
    std::uint32_t const least = keys.least();
    if (least == 0) nans += s.n - keys.count(1);
    if (quota > 0) keep_best_of_warp(s, keys, least);
  }
  if (nans > 0 && lane_of_warp() == 0) atomicAdd(p.nans + h, nans);
}

template <class First>
__global__ void __launch_bounds__(select_partitions_tuning::threads_for_long, 2)
    select_long_partitions_kernel(matrix_view<float const, device_memory> scores, per_head<First> firsts, int lag,
                                  int quota, device_plan p) {
  int const h = static_cast<int>(blockIdx.y);
  partitions_of_head const head{firsts[h], p.before[h], lag, quota, p.kept_of(h)};
  if (blockIdx.x == 0) head.keep_outside();
  if (!head.judges(static_cast<int>(blockIdx.x))) return;
  keep_best(head.of(static_cast<int>(blockIdx.x), scores.row(h)), select_room::in(dynamic_shared<int>()),
            [&](int nans) {
              if (nans > 0) atomicAdd(p.nans + h, nans);
            });
}

}  // namespace detail

template <>
struct kernel<select_partitions_fn, cuda> {
  static void run(cuda const& ex, matrix_view<float const, device_memory> scores,
                  select_partitions_fn::parameters const& s, basic_plan<device_memory>& p) {
    using tuning = detail::select_partitions_tuning;
    if (p.heads() == 0) return;
    int const lag = s.partitions.lag;
    int most = 1;
    for (int h = 0; h < p.heads(); ++h) most = std::max(most, s.partitions.judged(h, p.before(h)));
    auto const first = detail::table_of(ex, s.partitions.first);
    auto const heads = static_cast<unsigned>(p.heads());
    auto const launch = [&](auto* kernel, detail::launch_shape const& shape) {
      detail::launch(ex, "select_partitions", kernel, shape, scores, first.view(), lag, s.quota, p.device());
    };
    if (lag > tuning::longest_of_warp) {
      launch(detail::select_long_partitions_kernel<int>, {{static_cast<unsigned>(most), heads},
                                                          tuning::threads_for_long,
                                                          detail::select_room::bytes(tuning::threads_for_long, lag)});
      return;
    }
    unsigned const enough = std::max(1U, tuning::blocks / heads);
    detail::launch_shape const warps{{std::min(enough, detail::blocks_for(most, tuning::warps)), heads},
                                     tuning::warps * detail::warp_size};
    if (lag <= 128) {
      launch(detail::select_partitions_kernel<4, int>, warps);
    } else if (lag <= 256) {
      launch(detail::select_partitions_kernel<8, int>, warps);
    } else if (lag <= 512) {
      launch(detail::select_partitions_kernel<16, int>, warps);
    } else {
      launch(detail::select_partitions_kernel<32, int>, warps);
    }
  }
};

}  // namespace tightkv
