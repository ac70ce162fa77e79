// SPDX-License-Identifier: Apache-2.0
/// How `lag_scores` goes through a plane: from the last partition to the first, each row brought to shared memory once.
#pragma once

#include <cstdint>
#include <type_traits>

#include <tightkv/cuda/block.cuh>
#include <tightkv/cuda/lag_team.cuh>
#include <tightkv/cuda/row_tile.cuh>
#include <tightkv/ops/lag_scores.hpp>

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
  /// of the next; then takes its own ranges.
  __device__ void partition(bool scored, shared<float> squares) {
    for (int offset = last_offset(); offset >= 0; offset -= lag_tuning::rows) {
      wait_for_all_but<0>();
      __syncthreads();  // this tile is there, and the one before is no longer needed
      if (offset == last_offset()) begin_partition(scored);
      auto const rows = memory_.template stage<T>(stage_) + team::channel(0);
      stage_ ^= 1;
      bring();
      int const count = count_at(offset);
      bool const evenly = scored && count % (together * team::in_block) == 0;
      if (!evenly) {
        look_at_rows(rows, offset, count, scored, squares);
      } else if (head_dim_ == most_channels) {
        look_at_all_rows<true>(rows, count, squares + offset);
      } else {
        look_at_all_rows<false>(rows, count, squares + offset);
      }
    }
    keep_ranges();
  }

  /// What takes part in the deviations of the partition's rows.
  __device__ int channels() const { return channels_; }

 private:
  using unit_type = typename team::unit_type;
  using pair = packet<float, 8>;
  static constexpr int most_channels = Steps * lane_sum::lanes;
  static constexpr int together = sizeof(T) == 2 ? 2 : 1;  // rows whose values fit into registers
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
    carrier_.bring(ahead_.begin + ahead_.offset, count_at(ahead_.offset), memory_.template stage<T>(stage_));
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
    each_ = 1.0F / static_cast<float>(channels_);
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      middle_[s] = shared_as<pair>(memory_.middle() + team::channel(s))[0];
      scale_[s] = shared_as<pair>(memory_.scale() + team::channel(s))[0];
    }
  }

  /// The rows of a tile; `rows` begins at the thread's first channel.
  __device__ __forceinline__ void look_at_rows(shared<T> rows, int offset, int count, bool scored,
                                               shared<float> squares) {
#pragma unroll 1
    for (int begin = 0; begin < count; begin += team::in_block) {
      int const r = begin + team::index();
      bool const there = r < count;
      unit_type x[Steps] = {};
      auto const row = there ? rows + r * stride_ : rows;
      read<false>(row, x);
      float const sum = widen_by(x, there, scored ? careful_deviations(sums_of<false>(x), row) : unjudged);
      if (there && scored && team::member() == 0) squares[offset + r] = sum;
    }
  }

  /// As `look_at_rows`, some rows of each team at a time: all teams have theirs, so that there is less to ask.
  template <bool Full>
  __device__ __forceinline__ void look_at_all_rows(shared<T> rows, int count, shared<float> squares) {
    int const apart = team::in_block * stride_;
#pragma unroll 1
    for (int mine = team::index(); mine < count; mine += together * team::in_block) {
      auto const row = rows + mine * stride_;
      auto const to = squares + mine;
      unit_type x[together][Steps] = {};
      row_sums sums[together];
      float found[together];
      bool usual = true;
#pragma unroll
      for (int r = 0; r < together; ++r) {
        read<Full>(row + r * apart, x[r]);
        sums[r] = sums_of<Full>(x[r]);
        found[r] = deviations(sums[r]);
        // A value that is not finite shows in the squares, too few channels in the digits.
        usual = usual && sums[r].of_squares < infinite && !loses_digits(found[r], sums[r].of_squares);
      }
      bool const all_are = __all_sync(all_lanes, usual) != 0;
#pragma unroll
      for (int r = 0; r < together; ++r) {
        if (!all_are) {
          found[r] = widen_by(x[r], true, careful_deviations(sums[r], row + r * apart));
        } else {
          widen(x[r]);
        }
      }
#pragma unroll
      for (int r = 0; r < together; ++r) {
        if (team::member() == 0) to[r * team::in_block] = found[r];
      }
    }
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

  template <bool Full>
  __device__ __forceinline__ void read(shared<T> row, unit_type (&x)[Steps]) const {
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      if (Full || team::channel(s) < head_dim_) x[s] = shared_as<unit_type>(row + s * lane_sum::lanes)[0];
    }
  }

  /// Of a row's normalised channels, and of their squares.
  struct row_sums {
    float total;
    float of_squares;
  };
  /// `Full`: a row has most_channels channels. All threads of the warp must call it.
  template <bool Full>
  __device__ __forceinline__ row_sums sums_of(unit_type const (&x)[Steps]) const {
    pair sum{};
    pair squares{};
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      if (!Full && s * lane_sum::lanes >= head_dim_) continue;
#pragma unroll
      for (int i = 0; i < team::unit; ++i) {
        float const normalised = fma(element_of(x[s], i) - middle_[s].element[i], scale_[s].element[i], 0.0F);
        sum.element[i] += normalised;
        squares.element[i] = fma(normalised, normalised, squares.element[i]);
      }
    }
    return {team::total(sum), team::total(squares)};
  }

  /// The squared deviations of a row's channels from their mean, as the plain kernel's.
  __device__ __forceinline__ float deviations(row_sums const& of) const {
    return fma(-of.total, of.total * each_, of.of_squares);
  }
  /// The same for any row of finite values. All threads of the warp must call it.
  __device__ __forceinline__ float careful_deviations(row_sums const& of, shared<T> row) const {
    float found = deviations(of);
    bool const again = loses_digits(found, of.of_squares);
    if (__any_sync(all_lanes, again)) {
      float const around_mean = deviations_from(of.total * each_, row);
      found = again ? around_mean : found;
    }
    return channels_ < 2 ? 0.0F : found;
  }
  /// Hardly ever needed: it reads everything again, so that the loop over rows need not keep it in registers.
  __device__ __forceinline__ float deviations_from(float mean, shared<T> row) const {
    pair squares{};
#pragma unroll 1
    for (int s = 0; team::channel(s) < head_dim_; ++s) {
      for (int i = 0; i < team::unit; ++i) {
        float const scale = memory_.scale()[team::channel(s) + i];
        if (scale == 0.0F) continue;
        float const x = to_float(static_cast<T>(row[s * lane_sum::lanes + i]));
        float const deviation = fma(x - memory_.middle()[team::channel(s) + i], scale, -mean);
        squares.element[i] = fma(deviation, deviation, squares.element[i]);
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
      pair middle;
      pair scale;
#pragma unroll
      for (int i = 0; i < team::unit; ++i) {
        float const low = element_of(lowest, i);
        float const range = element_of(highest, i) - low;
        float const inverse = 1.0F / range;
        bool const counts = u * team::unit + i < head_dim_ && range > 0.0F && is_finite(range) && is_finite(inverse);
        middle.element[i] = counts ? fma(range, 0.5F, low) : 0.0F;
        scale.element[i] = counts ? inverse : 0.0F;
        channels += __popc(__ballot_sync(all_lanes, counts));
      }
      shared_as<pair>(memory_.middle())[u] = middle;
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

  row_carrier<T, Head> carrier_;
  lag_shared memory_;
  int head_dim_;
  int stride_;  // elements from one row of a tile to the next
  int lag_;
  int lowest_;
  place ahead_;
  int stage_ = 0;  // of the next tile to be looked at; once that is looked at, of the next to be brought
  int channels_ = 0;
  float each_ = 0.0F;  // 1 / channels_
  pair middle_[Steps];
  pair scale_[Steps];
  unit_type lowest_found_[Steps];
  unit_type highest_found_[Steps];
};

}  // namespace tightkv::detail
