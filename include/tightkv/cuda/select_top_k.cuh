// SPDX-License-Identifier: Apache-2.0
/// `select_top_k` on a GPU: a block per head reads the scores once to find where the threshold lies, and once more to
/// mark who is above it.
#pragma once

#include <algorithm>
#include <cstddef>

#include <tightkv/cuda/plan.cuh>
#include <tightkv/cuda/threshold.cuh>
#include <tightkv/cuda/token_marks.cuh>
#include <tightkv/ops/select_top_k.hpp>

namespace tightkv {
namespace detail {

struct select_tuning {
  static constexpr int most_threads = 1024;
  static constexpr int few_threads = 256;
  static constexpr int tokens_for_many = 8192;
  /// Tokens whose marks are in shared memory together; with the bins, they fit any GPU from sm_80 on.
  static constexpr int most_marked = 1 << 17;
  /// Of the first histogram. Later ones take a quarter of it, beside the keys of the threshold's bin.
  static constexpr int bins_per_thread = 16;
  static constexpr int few_bins_per_thread = 4;
  static constexpr int listed_per_thread = bins_per_thread - few_bins_per_thread;
};

/// Shared memory of `keep_best`.
struct select_room {
  shared<int> of_warps;
  shared<int> bins;
  shared<token_marks> marks;

  static std::size_t bytes(int threads, int longest) {
    int const marked = std::min(longest, select_tuning::most_marked);
    return sizeof(int) * static_cast<std::size_t>(words_of_warps + select_tuning::bins_per_thread * threads) +
           sizeof(token_marks) * static_cast<std::size_t>((marked + warp_size - 1) / warp_size);
  }
  static __device__ select_room in(shared<int> p) {
    auto const bins = p + words_of_warps;
    return {p, bins, shared_as<token_marks>(bins + select_tuning::bins_per_thread * static_cast<int>(blockDim.x))};
  }

  __device__ digit_counts counts() const { return {bins, select_tuning::bins_per_thread, of_warps}; }
  __device__ digit_counts few_counts() const { return {bins, select_tuning::few_bins_per_thread, of_warps}; }
  /// Where `few_counts` leaves room.
  __device__ shared<std::uint32_t> list() const {
    return shared_as<std::uint32_t>(bins + select_tuning::few_bins_per_thread * static_cast<int>(blockDim.x));
  }
  /// A place for each token of 32 words, where no histogram and no list is left.
  __device__ shared<std::uint16_t> staged_of_warp() const {
    static_assert(select_tuning::bins_per_thread * sizeof(int) == warp_size * sizeof(std::uint16_t));
    return shared_as<std::uint16_t>(bins) + warp_of_block() * warp_size * warp_size;
  }

 private:
  static constexpr int words_of_warps = (digit_counts::words_of_room + 3) / 4 * 4;
};

/// Finds the threshold among the keys inside the bin, all of which fit the list, and marks them anew: above, inside
/// where only the order of tokens can tell, or neither.
__device__ inline key_bin decide_inside(float const* scores, key_bin b, marks_of_warp const& marks,
                                        select_room const& room) {
  auto const counts = room.few_counts();
  auto const list = room.list();
  int const listed = b.size;
  int const before = sum_over_warps(marks.count(inside), room.of_warps).before;
  marks.for_each(inside, before, [&](int w, token_marks const& m, int at) {
    for (auto bits = m.element[inside]; bits != 0; bits &= bits - 1) {
      list[at++] = static_cast<std::uint32_t>(w * warp_size + __ffs(static_cast<int>(bits)) - 1);
    }
  });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < listed; i += static_cast<int>(blockDim.x)) {
    std::uint32_t const token = list[i];
    list[i] = ordered(load(scores + token));
  }
  while (!b.decided()) {
    counts.clear();
    for (int i = static_cast<int>(threadIdx.x); i < listed; i += static_cast<int>(blockDim.x)) counts.add(b, list[i]);
    __syncthreads();
    b = counts.descend(b);
  }
  marks.for_each(inside, before, [&](int w, token_marks m, int at) {
    auto bits = m.element[inside];
    if (bits == 0) return;
    m.element[inside] = 0;
    for (; bits != 0; bits &= bits - 1) {
      std::uint32_t const key = list[at++];
      std::uint32_t const bit = bits & (0U - bits);
      if (key >= b.enough()) {
        m.element[above] |= bit;
      } else if (b.contains(key)) {
        m.element[inside] |= bit;
      }
    }
    marks.words[w] = m;
  });
  return b;
}

/// Of the tokens inside, the first `count` are above as well. Returns how many are inside.
__device__ inline int keep_first_inside(int count, marks_of_warp const& marks, select_room const& room) {
  auto const here = sum_over_warps(marks.count(inside), room.of_warps);
  marks.for_each(inside, here.before, [&](int w, token_marks m, int at) {
    auto const bits = first_bits(m.element[inside], count - at);
    if (bits == 0) return;
    m.element[above] |= bits;
    marks.words[w] = m;
  });
  return here.all;
}

/// Writes the numbers of those above, ascending; `first` is the number of bit 0 of word 0. Returns how many. They go
/// through shared memory, so that neighbouring lanes write neighbouring numbers.
__device__ inline int write_marked(int first, int* out, marks_of_warp const& marks, select_room const& room) {
  auto const here = sum_over_warps(marks.count(above), room.of_warps);
  auto const staged = room.staged_of_warp();
  marks.for_each(above, here.before, [&](int w, token_marks const& m, int at) {
    int const begin = __shfl_sync(all_lanes, at, 0);
    int const end = __shfl_sync(all_lanes, at + __popc(m.element[above]), warp_size - 1);
    auto to = staged + (at - begin);
    for (auto bits = m.element[above]; bits != 0; bits &= bits - 1, to += 1) {
      *to = static_cast<std::uint16_t>(lane_of_warp() * warp_size + __ffs(static_cast<int>(bits)) - 1);
    }
    __syncwarp();
    int const token = first + (w - lane_of_warp()) * warp_size;
#pragma unroll 2
    for (int i = lane_of_warp(); i < end - begin; i += warp_size) {
      std::uint16_t const from = staged[i];
      store(out + begin + i, token + from);
    }
    __syncwarp();
  });
  return here.all;
}

/// `count` of the tokens [first, first + n) are to be written to `out`.
struct selection {
  float const* scores;  // of the first one on
  int first;
  int n;
  int count;
  int* out;
};

/// Writes the best, ascending; before, thread 0 calls `note(nans)`, how many scores are NaN. For all threads of the
/// block.
template <class F>
__device__ void keep_best(selection const& s, select_room const& room, F const& note) {
  auto const counts = room.counts();
  auto const count_all = [&](key_bin const& b) {
    counts.clear();
    for_each_score<1>(s.scores, s.n, [&](bool there, int, float x) {
      if (there) counts.add(b, ordered(x));
    });
    __syncthreads();
  };
  key_bin b{0, 32, s.n, s.count};
  count_all(b);
  if (threadIdx.x == 0) note(counts.of_lowest());  // no other key begins as theirs does
  if (s.count == 0) return;
  b = counts.descend(b);

  constexpr int most = select_tuning::most_marked;
  bool const together = s.n <= most;
  int const fit = together ? select_tuning::listed_per_thread * static_cast<int>(blockDim.x) : 0;
  while (!b.decided() && b.size > fit) {
    count_all(b);
    b = counts.descend(b);
  }
  int written = 0;
  for (int first = 0; first < s.n; first += most) {
    int const n = s.n - first < most ? s.n - first : most;
    mark_scores(s.scores + first, n, b, room.marks);
    marks_of_warp const marks{room.marks, word_range::of_warp(n)};
    if (!b.decided()) b = decide_inside(s.scores, b, marks, room);
    if (b.size != b.kept) {
      int const ties = keep_first_inside(b.kept, marks, room);
      b.size -= ties;
      b.kept -= ties < b.kept ? ties : b.kept;
    }
    written += write_marked(s.first + first, s.out + written, marks, room);
    if (!together) __syncthreads();  // the marks are used again
  }
}

/// out[i] = begin + i for i in [0, n). For all threads of the block.
__device__ inline void write_all(int* out, int begin, int n) {
  for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) store(out + i, begin + i);
}

template <class Range>
__global__ void __launch_bounds__(select_tuning::most_threads, 2)
    select_top_k_kernel(matrix_view<float const, device_memory> scores, per_head<Range> ranges, device_plan p) {
  int const h = static_cast<int>(blockIdx.x);
  auto const range = ranges[h];
  int const n = range.end - range.begin;
  int const tokens = p.before[h];
  int const count = p.after[h] - (tokens - n);
  int* const kept = p.kept_of(h);
  write_all(kept, 0, range.begin);
  write_all(kept + range.begin + count, range.end, tokens - range.end);
  keep_best({scores.row(h) + range.begin, range.begin, n, count, kept + range.begin},
            select_room::in(dynamic_shared<int>()), [&](int nans) { store(p.nans + h, nans); });
}

}  // namespace detail

template <>
struct kernel<select_top_k_fn, cuda> {
  static void run(cuda const& ex, matrix_view<float const, device_memory> scores, std::span<token_range const> ranges,
                  basic_plan<device_memory>& p) {
    using tuning = detail::select_tuning;
    if (p.heads() == 0) return;
    int longest = 0;
    for (auto const& r : ranges) longest = std::max(longest, r.size());
    auto const table = detail::table_of(ex, ranges);
    int const threads = longest >= tuning::tokens_for_many ? tuning::most_threads : tuning::few_threads;
    detail::launch(ex, "select_top_k", detail::select_top_k_kernel<token_range>,
                   {static_cast<unsigned>(p.heads()), static_cast<unsigned>(threads),
                    detail::select_room::bytes(threads, longest)},
                   scores, table.view(), p.device());
  }
};

}  // namespace tightkv
