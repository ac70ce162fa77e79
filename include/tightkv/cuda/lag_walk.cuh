// SPDX-License-Identifier: Apache-2.0
/// How `lag_scores` goes through a plane: from the last partition to the first, each row brought to shared memory once.
#pragma once

#include <cstdint>
#include <type_traits>

#include <tightkv/cuda/block.cuh>
#include <tightkv/cuda/lag_team.cuh>
#include <tightkv/cuda/row_tile.cuh>

namespace tightkv::detail {

/// A plane's rows, partition by partition. It walks backwards, so that when a row is there the ranges of the next
/// partition are known, and the row is needed only once: for its spread, and for the ranges of its own partition.
/// All threads of the block make the same calls.
template <class Head, class T, int Steps>
class lag_walk {
 public:
  using team = lag_team<T>;

  /// Partitions begin at `lowest`, ..., `highest`.
  __device__ lag_walk(Head const& head, int head_dim, int lag, int lowest, int highest, lag_shared const& memory)
      : carrier_(head, head_dim, team::stride_of(head_dim)),
        memory_(memory),
        head_dim_(head_dim),
        stride_(team::stride_of(head_dim) * row_tile<T>::piece),
        lag_(lag),
        lowest_(lowest),
        ahead_{highest, last_offset()} {
    bring();
  }

  /// Goes through one partition: if `scored`, leaves the sum of squared deviations of each of its rows, by the ranges
  /// of the next, and returns the largest of them; then takes its own ranges.
  __device__ float partition(bool scored, shared<float> squares) {
    float largest = -infinite;
    for (int offset = last_offset(); offset >= 0; offset -= lag_tuning::rows) {
      wait_for_all_but<0>();
      __syncthreads();  // this tile is there, and the one before is no longer needed
      if (offset == last_offset()) begin_partition(scored);
      auto const rows = memory_.template stage<T>(stage_) + team::channel(0);
      stage_ ^= 1;
      bring();
      int const count = count_at(offset);
      bool const evenly = scored && whole_ && count % (together * team::in_block) == 0;
      float const most = evenly ? look_at_whole_rows(rows, offset, count, squares)
                                : look_at_rows(rows, offset, count, scored, squares);
      largest = most > largest ? most : largest;
    }
    keep_ranges();
    return scored ? largest_of_block(largest) : -infinite;
  }

  /// What takes part in the deviations of the partition's rows.
  __device__ int channels() const { return channels_; }

 private:
  using unit_type = typename team::unit_type;
  using pair = packet<float, 8>;
  static constexpr int most_channels = Steps * lane_sum::lanes;
  static constexpr int together = sizeof(T) == 2 ? 2 : 1;  // rows whose values fit into registers
  static_assert((most_channels & (most_channels - 1)) == 0, "to multiply by 1 / channels is to divide by channels");
  struct place {
    int begin;   // of the partition
    int offset;  // of the tile within it
  };

  /// Infinity in all parts of a word, and their signs: nvcc would put halves of words together each time.
  static constexpr std::uint32_t infinities = std::is_same_v<T, half>       ? 0x7c007c00U
                                              : std::is_same_v<T, bfloat16> ? 0x7f807f80U
                                                                            : 0x7f800000U;
  static constexpr std::uint32_t signs = sizeof(T) == 2 ? 0x80008000U : 0x80000000U;
  static __device__ unit_type filled_with(std::uint32_t word) {
    packet<std::uint32_t, static_cast<int>(sizeof(unit_type))> words;
    for (auto& w : words.element) w = word;
    return bits_as<unit_type>(words);
  }
  __device__ int last_offset() const { return (lag_ - 1) / lag_tuning::rows * lag_tuning::rows; }
  __device__ int count_at(int offset) const {
    return lag_ - offset < lag_tuning::rows ? lag_ - offset : lag_tuning::rows;
  }

  /// Begins to bring the next tile, if there is one.
  __device__ void bring() {
    if (ahead_.begin < lowest_) return;
    carrier_.bring(ahead_.begin + ahead_.offset, count_at(ahead_.offset), memory_.template stage<T>(coming_));
    coming_ ^= 1;
    ahead_.offset -= lag_tuning::rows;
    if (ahead_.offset >= 0) return;
    ahead_ = {ahead_.begin - lag_, last_offset()};
  }

  /// The ranges of the next partition, for this thread's channels.
  __device__ void begin_partition(bool scored) {
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      lowest_found_[s] = filled_with(infinities);
      highest_found_[s] = filled_with(infinities | signs);
    }
    if (!scored) return;
    channels_ = 0;
    for (int w = 0; w < lag_tuning::warps; ++w) channels_ += static_cast<int>(memory_.counts()[w]);
    whole_ = channels_ == most_channels;
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      low_[s] = shared_as<pair>(memory_.low() + team::channel(s))[0];
      scale_[s] = shared_as<pair>(memory_.scale() + team::channel(s))[0];
    }
  }

  /// The rows of a tile; `rows` begins at the thread's first channel. Returns the largest sum of squares, in the first
  /// thread of a team.
  __device__ __forceinline__ float look_at_rows(shared<T> rows, int offset, int count, bool scored,
                                                shared<float> squares) {
    float largest = -infinite;
#pragma unroll 1
    for (int begin = 0; begin < count; begin += team::in_block) {
      int const r = begin + team::index();
      bool const there = r < count;
      unit_type x[Steps] = {};
      read<false>(there ? rows + r * stride_ : rows, x);
      float sum = scored ? deviations<false>(x) : unjudged;
      if (channels_ < 2) sum = 0.0F;
      sum = widen_by(x, there, sum);
      if (there && scored) keep_sum(sum, squares + offset + r, largest);
    }
    return largest;
  }

  /// As `look_at_rows`, some rows of each team at a time: all channels take part, and all teams have their rows, so
  /// that there is nothing to ask.
  __device__ __forceinline__ float look_at_whole_rows(shared<T> rows, int offset, int count, shared<float> squares) {
    float largest = -infinite;
    int const apart = team::in_block * stride_;
    auto row = rows + team::index() * stride_;
    auto to = squares + offset + team::index();
#pragma unroll 1
    for (int begin = 0; begin < count; begin += together * team::in_block) {
      unit_type x[together][Steps];
      float sum[together];
      bool finite = true;
#pragma unroll
      for (int r = 0; r < together; ++r) {
        read<true>(row + r * apart, x[r]);
        sum[r] = deviations<true>(x[r]);
        finite = finite && is_finite(sum[r]);  // a value that is not shows in the sum
      }
      bool const all_are = __all_sync(all_lanes, finite) != 0;
#pragma unroll
      for (int r = 0; r < together; ++r) {
        if (!all_are) {
          sum[r] = widen_by(x[r], true, sum[r]);
        } else {
          widen(x[r]);
        }
      }
#pragma unroll
      for (int r = 0; r < together; ++r) keep_sum(sum[r], to + r * team::in_block, largest);
      row = row + together * apart;
      to = to + together * team::in_block;
    }
    return largest;
  }

  static __device__ __forceinline__ void keep_sum(float sum, shared<float> to, float& largest) {
    if (team::member() != 0) return;
    to[0] = sum;
    largest = sum > largest ? sum : largest;
  }

  /// Widens the ranges by a row, if it is there and its values are finite. Returns its sum of squared deviations, NaN
  /// where a value is not finite. All threads of the warp must call it.
  __device__ float widen_by(unit_type const (&x)[Steps], bool there, float sum) {
    bool const finite = all_finite(x);
    if (there && finite) widen(x);
    return finite && is_finite(sum) ? sum : unjudged;
  }
  __device__ __forceinline__ void widen(unit_type const (&x)[Steps]) {
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      lowest_found_[s] = least(lowest_found_[s], x[s]);
      highest_found_[s] = most(highest_found_[s], x[s]);
    }
  }

  template <bool Whole>
  __device__ __forceinline__ void read(shared<T> row, unit_type (&x)[Steps]) const {
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      if (Whole || team::channel(s) < head_dim_) x[s] = shared_as<unit_type>(row + s * lane_sum::lanes)[0];
    }
  }

  /// As the plain kernel's, for a row of finite values. Where all channels take part there is nothing to ask.
  template <bool Whole>
  __device__ __forceinline__ float deviations(unit_type const (&x)[Steps]) const {
    pair above_low[Steps];
    pair sum{};
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
#pragma unroll
      for (int i = 0; i < team::unit; ++i) {
        above_low[s].element[i] = element_of(x[s], i) - low_[s].element[i];
        keep_in_register(above_low[s].element[i]);
        if (Whole || scale_[s].element[i] != 0.0F) {
          sum.element[i] = fma(above_low[s].element[i], scale_[s].element[i], sum.element[i]);
        }
      }
    }
    float const total = team::total(sum);
    float const mean = Whole ? total * (1.0F / most_channels) : total / static_cast<float>(channels_);
    pair squares{};
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
#pragma unroll
      for (int i = 0; i < team::unit; ++i) {
        float const deviation = fma(above_low[s].element[i], scale_[s].element[i], -mean);
        if (Whole || scale_[s].element[i] != 0.0F) squares.element[i] = fma(deviation, deviation, squares.element[i]);
      }
    }
    return team::total(squares);
  }

  /// A half by its bits: to be converted a second time, all of the row would be kept in registers.
  static __device__ bool is_finite_element(T x) {
    if constexpr (std::is_same_v<T, half>) {
      return (x.bits & 0x7c00U) != 0x7c00U;
    } else {
      return is_finite(to_float(x));
    }
  }
  /// Whether all values of the team's row are.
  static __device__ bool all_finite(unit_type const (&x)[Steps]) {
    int finite = 1;
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
#pragma unroll
      for (int i = 0; i < team::unit; ++i) finite &= is_finite_element(x[s].element[i]) ? 1 : 0;
    }
#pragma unroll
    for (int other = 1; other < team::threads; other *= 2) finite &= __shfl_xor_sync(all_lanes, finite, other);
    return finite != 0;
  }

  /// Joins the ranges that the teams found, in the room of the tile that has been looked at last.
  __device__ void keep_ranges() {
    auto const lows = shared_as<unit_type>(memory_.template stage<T>(stage_ ^ 1));
    auto const highs = lows + team::found_bytes(memory_.channels) / static_cast<int>(sizeof(unit_type));
    auto const mine = team::member() * team::apart + team::index();
    __syncthreads();
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      int const unit = s * team::threads * team::apart + mine;
      lows[unit] = lowest_found_[s];
      highs[unit] = highest_found_[s];
    }
    __syncthreads();
    int channels = 0;
    int const thread = static_cast<int>(threadIdx.x);
    for (int u = thread; u < Steps * team::threads; u += lag_tuning::threads) {
      unit_type const lowest = joined<choose_less>(lows + u * team::apart);
      unit_type const highest = joined<choose_greater>(highs + u * team::apart);
      pair low;
      pair scale;
#pragma unroll
      for (int i = 0; i < team::unit; ++i) {
        low.element[i] = element_of(lowest, i);
        float const range = element_of(highest, i) - low.element[i];
        float const inverse = 1.0F / range;
        bool const counts = u * team::unit + i < head_dim_ && range > 0.0F && is_finite(range) && is_finite(inverse);
        scale.element[i] = counts ? inverse : 0.0F;
        channels += __popc(__ballot_sync(all_lanes, counts));
      }
      shared_as<pair>(memory_.low())[u] = low;
      shared_as<pair>(memory_.scale())[u] = scale;
    }
    if (lane_of_warp() == 0) memory_.counts()[warp_of_block()] = channels;
  }

  /// What the teams found in a unit, joined.
  template <class Choose>
  static __device__ unit_type joined(shared<unit_type> found) {
    using several = packet<T, 16>;
    auto const pieces = shared_as<several>(found);
    several all = pieces[0];
#pragma unroll
    for (int i = 1; i < team::in_block * static_cast<int>(sizeof(unit_type)) / 16; ++i) {
      all = chosen<Choose>(all, static_cast<several>(pieces[i]));
    }
    using units = packet<unit_type, 16>;
    auto const each = bits_as<units>(all);
    unit_type one = each.element[0];
#pragma unroll
    for (int i = 1; i < units::size; ++i) one = chosen<Choose>(one, each.element[i]);
    return one;
  }

  /// As `over_block`, which other barriers keep apart from what follows.
  __device__ float largest_of_block(float x) const {
    x = over_warp(x, most_of{});
    if (lane_of_warp() == 0) memory_.largest()[warp_of_block()] = x;
    __syncthreads();
    for (int w = 0; w < lag_tuning::warps; ++w) {
      float const y = memory_.largest()[w];
      x = x < y ? y : x;
    }
    return x;
  }

  row_carrier<T, Head> carrier_;
  lag_shared memory_;
  int head_dim_;
  int stride_;  // elements from one row of a tile to the next
  int lag_;
  int lowest_;
  place ahead_;
  int coming_ = 0;
  int stage_ = 0;
  int channels_ = 0;
  bool whole_ = false;  // most_channels of them take part
  pair low_[Steps];
  pair scale_[Steps];
  unit_type lowest_found_[Steps];
  unit_type highest_found_[Steps];
};

}  // namespace tightkv::detail
