// SPDX-License-Identifier: Apache-2.0
/// How `lag_scores` reads a plane: from the last partition to the first, each row once.
#pragma once

#include <cmath>
#include <type_traits>

#include <tightkv/core/matrix.hpp>
#include <tightkv/cuda/row_team.cuh>

namespace tightkv::detail {

struct lag_tuning {
  static constexpr int warps = 4;   // per plane
  static constexpr int stages = 4;  // rows on their way, per warp, in multiples of what it looks at together
  static constexpr int threads = warps * warp_size;
  static constexpr int in_shared = 1024;  // up to this lag, spreads stay in shared memory
};

/// The ranges of one plane's channels over a partition, in shared memory; `channels` counts those that take part.
struct shared_ranges {
  shared<float> low;
  shared<float> scale;  // 1 / (high - low); 0 marks a channel that is left out
  shared<int> channels;
};

/// Where the rows' spreads go: shared memory, or, for a long lag, memory of the block's own.
struct spread_list {
  shared<float> near;
  float* far;

  __device__ float get(int i) const {
    if (far != nullptr) return load(far + i);
    float const x = near[i];
    return x;
  }
  __device__ void set(int i, float x) const {
    if (far != nullptr) {
      store(far + i, x);
    } else {
      near[i] = x;
    }
  }
};

/// Rows of one warp on their way through shared memory.
template <class T, int Steps>
struct row_ring {
  using team = row_team<T, 4>;
  using word = typename team::packet_type;
  // Padded so that the rows that a warp reads together lie in different banks.
  static constexpr int row_stride = (Steps + 1) * lane_sum::lanes;
  static constexpr int stage_size = team::per_warp * row_stride;
  static constexpr int size = lag_tuning::stages * stage_size;

  shared<T> data;

  /// Begins to bring row `token` of `rows` to place `row` of a stage. For the threads of a team.
  template <class Head>
  __device__ void bring(Head const& rows, int token, bool there, int stage) const {
    if (there) bring(rows[token], data + (stage * stage_size + team_in_warp() * row_stride));
    end_batch();
  }
  __device__ word get(int stage, int channel) const {
    auto const words = shared_as<word>(data + (stage * stage_size + team_in_warp() * row_stride));
    return words[channel / team::width];
  }

  static __device__ int team_in_warp() { return team::index() % team::per_warp; }

 private:
  static constexpr int piece = 16 / static_cast<int>(sizeof(T));

  template <class Element>
  static __device__ void bring(row<Element> const& r, shared<T> to) {
    if (!row_team<T, 16>::aligned(r.data, r.size)) return copy(r, to);
    for (int d = team::member() * piece; d < r.size; d += team::threads * piece) {
      begin_copy<T>(to + d, r.data + d);
    }
  }
  template <class Row>
  static __device__ void bring(Row const& r, shared<T> to) {
    copy(r, to);
  }
  template <class Row>
  static __device__ void copy(Row const& r, shared<T> to) {
    int const whole = (r.size + team::width - 1) / team::width * team::width;
    for (int d = team::member(); d < whole; d += team::threads) to[d] = d < r.size ? load(&r[d]) : T{};
  }
};

/// A thread's share of the rows of one plane: the channels [16 s + width m, + width) for s < Steps. It walks backwards,
/// so that when a row is read the ranges of the next partition are known, and the row is needed only once: for its
/// spread, and for the ranges of its own partition.
template <class Rows, int Steps>
class lag_walk {
 public:
  using T = typename Rows::value_type;
  using ring_type = row_ring<T, Steps>;
  using team = typename ring_type::team;
  static constexpr int width = team::width;
  static constexpr int most_channels = Steps * lane_sum::lanes;
  static constexpr int rows_at_once = lag_tuning::warps * team::per_warp;
  using head_type = decltype(std::declval<Rows const&>().head(0));

  /// Partitions begin at `lowest`, ..., `highest`. The threads of a plane's warp `warp` look at the same rows.
  __device__ lag_walk(head_type const& rows, int head_dim, int warp, int lag, int lowest, int highest, ring_type ring)
      : rows_(rows),
        ring_(ring),
        head_dim_(head_dim),
        lag_(lag),
        row_(warp * team::per_warp + ring_type::team_in_warp()),
        lowest_(lowest),
        now_{highest, last_offset()},
        ahead_(now_) {
    for (int i = 0; i < lag_tuning::stages; ++i) bring(i);
  }

  /// Goes through one partition: sets the spreads of its rows by the ranges of the next, if `scored`, and takes its own
  /// ranges.
  __device__ void partition(shared_ranges const& ranges, bool scored, spread_list const& spreads) {
    take_ranges(ranges, scored);
    int const begin = now_.begin;
    while (now_.begin == begin) {
      int const i = now_.offset + row_;
      wait_for_all_but<lag_tuning::stages - 1>();
      __syncwarp();
      float u = unjudged;
      if (scored) u = all_count_ ? spread<true>(row_there(i < lag_)) : spread<false>(row_there(i < lag_));
      // Read again: shared memory is cheaper than the registers that would hold the row until here.
      auto const words = row_there(i < lag_);
      bool const finite = all_finite(words, scored && all_count_ && is_finite(u));
      if (!finite) u = unjudged;
      if (i < lag_ && finite) widen(words);
      if (scored && i < lag_ && team::member() == 0) spreads.set(i, is_finite(u) ? u : unjudged);
      __syncwarp();
      bring(stage_);
      stage_ = (stage_ + 1) % lag_tuning::stages;
      advance(now_);
    }
  }

  /// Leaves this warp's ranges of the partition in `low` and `high`, Steps * 16 numbers each.
  __device__ void give_ranges(shared<float> low, shared<float> high) const {
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      word l = low_[s];
      word h = high_[s];
#pragma unroll
      for (int other = team::threads; other < warp_size; other *= 2) {
        l = least(l, from_lane(l, other));
        h = most(h, from_lane(h, other));
      }
#pragma unroll
      for (int i = 0; i < width; ++i) {
        if (ring_type::team_in_warp() != 0) continue;
        low[channel(s) + i] = to_float(l.element[i]);
        high[channel(s) + i] = to_float(h.element[i]);
      }
    }
  }

 private:
  using word = typename team::packet_type;
  struct row_words {
    word step[Steps];
  };

  static __device__ word from_lane(word const& w, int mask) {
    return bits_as<word>(__shfl_xor_sync(all_lanes, bits_as<std::uint32_t>(w), mask));
  }
  static __device__ word all_elements(float x) {
    word w;
    for (auto& element : w.element) element = from_float<T>(x);
    return w;
  }
  /// Rows [offset, offset + rows_at_once) of the partition that begins at `begin`.
  struct place {
    int begin;
    int offset;
  };

  static __device__ int channel(int s) { return s * lane_sum::lanes + team::member() * width; }
  __device__ int last_offset() const { return (lag_ - 1) / rows_at_once * rows_at_once; }
  __device__ void advance(place& p) const {
    p.offset -= rows_at_once;
    if (p.offset >= 0) return;
    p.begin -= lag_;
    p.offset = last_offset();
  }

  __device__ void bring(int stage) {
    int const i = ahead_.offset + row_;
    ring_.bring(rows_, ahead_.begin + i, ahead_.begin >= lowest_ && i < lag_, stage);
    advance(ahead_);
  }
  __device__ row_words row_there(bool there) const {
    row_words words{};
    if (!there) return words;
    if (head_dim_ == most_channels) {
#pragma unroll
      for (int s = 0; s < Steps; ++s) words.step[s] = ring_.get(stage_, channel(s));
    } else {
#pragma unroll
      for (int s = 0; s < Steps; ++s) {
        if (channel(s) < head_dim_) words.step[s] = ring_.get(stage_, channel(s));
      }
    }
    return words;
  }

  __device__ void take_ranges(shared_ranges const& ranges, bool scored) {
    channels_ = 0;
    if (scored) channels_ = ranges.channels[0];
    all_count_ = channels_ == most_channels;
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      low_[s] = all_elements(infinite);
      high_[s] = all_elements(-infinite);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        if (!scored) continue;
        low_of_next_[s].element[i] = from_float<T>(ranges.low[channel(s) + i]);
        scale_[s][i] = ranges.scale[channel(s) + i];
      }
    }
  }

  /// True for a channel that takes part. Where all do there is nothing to ask.
  template <bool All>
  __device__ bool counts(int s, int i) const {
    return All || scale_[s][i] != 0.0F;
  }

  /// As `spread` of the plain kernel, for a row of finite values.
  template <bool All>
  __device__ float spread(row_words const& words) const {
    float above_low[Steps][width];
    team_sum<team> sum;
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        above_low[s][i] = to_float(words.step[s].element[i]) - to_float(low_of_next_[s].element[i]);
        if (counts<All>(s, i)) sum.lane[i] = fma(above_low[s][i], scale_[s][i], sum.lane[i]);
      }
    }
    float const mean = sum.total() / static_cast<float>(channels_);
    team_sum<team> squares;
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        float const deviation = fma(above_low[s][i], scale_[s][i], -mean);
        if (counts<All>(s, i)) squares.lane[i] = fma(deviation, deviation, squares.lane[i]);
      }
    }
    float const total = squares.total();
    return channels_ < 2 ? 0.0F : std::sqrt(total / static_cast<float>(channels_ - 1));
  }

  /// Whether the team's row is finite. `known` where its spread has shown that already.
  __device__ bool all_finite(row_words const& words, bool known) const {
    if (!__any_sync(all_lanes, !known)) return true;
    int finite = 1;
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
#pragma unroll
      for (int i = 0; i < width; ++i) finite &= is_finite(to_float(words.step[s].element[i])) ? 1 : 0;
    }
#pragma unroll
    for (int other = 1; other < team::threads; other *= 2) finite &= __shfl_xor_sync(all_lanes, finite, other);
    return finite != 0;
  }

  __device__ void widen(row_words const& words) {
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      low_[s] = least(low_[s], words.step[s]);
      high_[s] = most(high_[s], words.step[s]);
    }
  }

  head_type rows_;
  ring_type ring_;
  int head_dim_;
  int lag_;
  int row_;  // of this team, within the rows that are looked at together
  int lowest_;
  place now_;
  place ahead_;
  int stage_ = 0;
  int channels_ = 0;
  bool all_count_ = false;
  word low_of_next_[Steps] = {};
  float scale_[Steps][width] = {};
  word low_[Steps];
  word high_[Steps];
};

}  // namespace tightkv::detail
