// SPDX-License-Identifier: Apache-2.0
/// Which tokens are kept: a bit each, in shared memory, from scores that are read once.
#pragma once

#include <cstdint>

#include <tightkv/cuda/threshold.cuh>

namespace tightkv::detail {

/// Calls `f(there, word, score)` for the words of 32 of n scores, batch by batch, all lanes of a warp together; `there`
/// is whether the lane's token is one of the n. Begins with the first words, or, for a step of -1, with the last. For
/// all threads of the block.
template <int Step, class F>
__device__ void for_each_score(float const* scores, int n, F const& f) {
  constexpr int words = 8;  // that a warp has on their way
  int const of_block = words * static_cast<int>(blockDim.x);
  int begin = warp_of_block() * words * warp_size;
  if (Step < 0) begin += (n - 1) / of_block * of_block;
  for (; Step > 0 ? begin < n : begin >= 0; begin += Step * of_block) {
    float const* const p = scores + begin + lane_of_warp();
    if (begin + words * warp_size <= n) {
      float x[words];
#pragma unroll
      for (int j = 0; j < words; ++j) x[j] = load(p + j * warp_size);
#pragma unroll
      for (int j = 0; j < words; ++j) f(true, begin / warp_size + j, x[j]);
    } else {
#pragma unroll 1
      for (int token = begin; token < n; token += warp_size) {
        bool const there = token + lane_of_warp() < n;
        f(there, token / warp_size, there ? load(scores + token + lane_of_warp()) : 0.0F);
      }
    }
  }
}

/// The words of 32 of n tokens that belong to a warp.
struct word_range {
  int begin, end;

  static __device__ word_range of_warp(int n) {
    int const words = (n + warp_size - 1) / warp_size;
    int const each = (words + warps_of_block() - 1) / warps_of_block();
    int const begin = warp_of_block() * each;
    return {begin < words ? begin : words, begin + each < words ? begin + each : words};
  }
};

/// A mark of 32 neighbouring tokens: those that are kept for certain, and those in the threshold's bin.
using token_marks = packet<std::uint32_t, 8>;
enum mark { above, inside };

/// The marks of a warp's words.
struct marks_of_warp {
  shared<token_marks> words;
  word_range range;

  /// How many marks of a kind there are.
  __device__ int count(mark kind) const {
    int found = 0;
    for (int w = range.begin + lane_of_warp(); w < range.end; w += warp_size) {
      token_marks const m = words[w];
      found += __popc(m.element[kind]);
    }
    return __reduce_add_sync(all_lanes, found);
  }

  /// Calls `f(word, marks, before)`, a word per lane and all lanes together; `before` plus the number of marks of a
  /// kind in the words before.
  template <class F>
  __device__ void for_each(mark kind, int before, F const& f) const {
    for (int first = range.begin; first < range.end; first += warp_size) {
      int const w = first + lane_of_warp();
      token_marks m{};
      if (w < range.end) m = words[w];
      int const marked = __popc(m.element[kind]);
      int const through = sum_up_to_lane(marked);
      f(w, m, before + through - marked);
      before += __shfl_sync(all_lanes, through, warp_size - 1);
    }
  }
};

/// Sets the marks of n scores. For all threads of the block.
__device__ inline void mark_scores(float const* scores, int n, key_bin const& b, shared<token_marks> marks) {
  float const enough = least_score(b.enough());
  float const least = least_score(b.low);
  bool const nan_is_enough = b.enough() == 0;
  bool const nan_is_inside = b.low == 0;
  // Last words first: they were read last, and may be in the cache.
  for_each_score<-1>(scores, n, [&](bool there, int word, float x) {
    unsigned const kept = __ballot_sync(all_lanes, there & ((x >= enough) | nan_is_enough));
    unsigned const at_least = __ballot_sync(all_lanes, there & ((x >= least) | nan_is_inside));
    if (lane_of_warp() == 0) marks[word] = token_marks{{kept, at_least & ~kept}};
  });
  __syncthreads();
}

}  // namespace tightkv::detail
