// SPDX-License-Identifier: Apache-2.0
/// How `lag_scores` goes through a plane: from the last partition to the first, each row brought to shared memory once.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include <tightkv/core/matrix.hpp>
#include <tightkv/cuda/block.cuh>
#include <tightkv/cuda/row_tile.cuh>

namespace tightkv::detail {

struct lag_tuning {
  static constexpr int threads = 128;
  static constexpr int warps = threads / warp_size;
  static constexpr int blocks = 4;        // on a processor
  static constexpr int stages = 2;        // tiles: one is looked at while the next arrives
  static constexpr int rows = 64;         // of a tile
  static constexpr int most_lag = 16384;  // whose spreads fit in shared memory
};

/// The threads that share a row. Each has two neighbouring lanes of the row's sums: channels 16 s + 2 m and the next,
/// s = 0, 1, ..., for member m. So it can keep the ranges of its channels in registers.
template <class T>
struct lag_team {
  using unit_type = packet<T, 2 * static_cast<int>(sizeof(T))>;
  static constexpr int unit = unit_type::size;
  static constexpr int threads = lane_sum::lanes / unit;
  static constexpr int in_block = lag_tuning::threads / threads;

  static __device__ int member() { return static_cast<int>(threadIdx.x) % threads; }
  static __device__ int index() { return static_cast<int>(threadIdx.x) / threads; }
  static __device__ int channel(int s) { return s * lane_sum::lanes + member() * unit; }
  /// Pieces of 16 bytes from one row to the next, so that rows that a warp reads together lie in different banks.
  TIGHTKV_HD static int stride_of(int head_dim) {
    int stride = row_tile<T>::pieces_of(head_dim);
    while (stride * 16 % 128 != threads * static_cast<int>(sizeof(unit_type))) ++stride;
    return stride;
  }
  static int ring_bytes(int head_dim) { return lag_tuning::stages * lag_tuning::rows * stride_of(head_dim) * 16; }

  /// The sum of a row, of which each thread has two lanes, in all threads of the team. All threads of the warp must
  /// call it.
  static __device__ __forceinline__ float total(packet<float, 8> lane) {
#pragma unroll
    for (int apart = threads / 2; apart > 0; apart /= 2) {
      lane.element[0] += __shfl_xor_sync(all_lanes, lane.element[0], apart);
      lane.element[1] += __shfl_xor_sync(all_lanes, lane.element[1], apart);
    }
    return lane.element[0] + lane.element[1];
  }
};

/// The block's shared memory, behind the ring of tiles.
struct lag_shared {
  int ring_bytes;
  int channels;  // Steps * 16
  int lag;

  TIGHTKV_HD int bytes() const {
    int const floats = (2 * lag_tuning::warps + 2) * channels + 2 * lag_tuning::warps + lag;
    return ring_bytes + floats * static_cast<int>(sizeof(float));
  }
  /// The smallest and the largest values that a warp found in each channel.
  template <class T>
  __device__ shared<T> lowest(int warp) const {
    return shared_as<T>(floats() + 2 * warp * channels);
  }
  template <class T>
  __device__ shared<T> highest(int warp) const {
    return shared_as<T>(floats() + (2 * warp + 1) * channels);
  }
  /// The ranges of the channels over the next partition: 1 / (high - low); 0 marks a channel that is left out.
  __device__ shared<float> low() const { return floats() + 2 * lag_tuning::warps * channels; }
  __device__ shared<float> scale() const { return low() + channels; }
  /// Of each warp: how many channels take part, and its largest spread.
  __device__ shared<int> counts() const { return shared_as<int>(scale() + channels); }
  __device__ shared<float> largest() const { return shared_as<float>(counts() + lag_tuning::warps); }
  __device__ shared<float> spreads() const { return largest() + lag_tuning::warps; }

 private:
  __device__ shared<float> floats() const { return dynamic_shared<float>(static_cast<std::size_t>(ring_bytes)); }
};

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
      auto const rows = stage(stage_) + team::channel(0);
      stage_ ^= 1;
      bring();
      int const count = count_at(offset);
      bool const evenly = scored && whole_ && count % team::in_block == 0;
      float const most = evenly ? look_at_rows<true>(rows, offset, count, scored, squares)
                                : look_at_rows<false>(rows, offset, count, scored, squares);
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
  struct place {
    int begin;   // of the partition
    int offset;  // of the tile within it
  };

  static __device__ unit_type both(float x) { return {{from_float<T>(x), from_float<T>(x)}}; }
  static __device__ unit_type from_lane(unit_type x, int mask) {
    using words = packet<std::uint32_t, static_cast<int>(sizeof(unit_type))>;
    auto w = bits_as<words>(x);
    for (auto& word : w.element) word = __shfl_xor_sync(all_lanes, word, mask);
    return bits_as<unit_type>(w);
  }
  __device__ int last_offset() const { return (lag_ - 1) / lag_tuning::rows * lag_tuning::rows; }
  __device__ int count_at(int offset) const {
    return lag_ - offset < lag_tuning::rows ? lag_ - offset : lag_tuning::rows;
  }
  __device__ shared<T> stage(int i) const { return dynamic_shared<T>() + i * (lag_tuning::rows * stride_); }

  /// Begins to bring the next tile, if there is one.
  __device__ void bring() {
    if (ahead_.begin < lowest_) return;
    carrier_.bring(ahead_.begin + ahead_.offset, count_at(ahead_.offset), stage(coming_));
    coming_ ^= 1;
    ahead_.offset -= lag_tuning::rows;
    if (ahead_.offset >= 0) return;
    ahead_ = {ahead_.begin - lag_, last_offset()};
  }

  /// The ranges of the next partition, for this thread's channels.
  __device__ void begin_partition(bool scored) {
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      lowest_found_[s] = both(infinite);
      highest_found_[s] = both(-infinite);
    }
    if (!scored) return;
    channels_ = 0;
    for (int w = 0; w < lag_tuning::warps; ++w) channels_ += static_cast<int>(memory_.counts()[w]);
    // Exact for a power of two, as divisions take long.
    bool const is_power = channels_ != 0 && (channels_ & (channels_ - 1)) == 0;
    inverse_ = is_power ? bits_as<float>((127U - 31U + static_cast<unsigned>(__clz(channels_))) << 23) : 0.0F;
    whole_ = channels_ == Steps * lane_sum::lanes;
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
      low_[s] = shared_as<pair>(memory_.low() + team::channel(s))[0];
      scale_[s] = shared_as<pair>(memory_.scale() + team::channel(s))[0];
    }
  }

  /// The rows of a tile. Evenly: all channels take part, and every team has a row each time, so that there is nothing
  /// to ask. `rows` begins at the thread's first channel. Returns the largest sum of squares in its first thread.
  template <bool Evenly>
  __device__ __forceinline__ float look_at_rows(shared<T> rows, int offset, int count, bool scored,
                                                shared<float> squares) {
    float largest = -infinite;
    auto row = rows + team::index() * stride_;
#pragma unroll 1
    for (int r = team::index(); r - team::index() < count; r += team::in_block) {
      bool const there = Evenly || r < count;
      float const sum = look_at_row<Evenly>(there ? row : rows, there, scored);
      row = row + team::in_block * stride_;
      if (!there || !scored || team::member() != 0) continue;
      squares[offset + r] = sum;
      largest = sum > largest ? sum : largest;
    }
    return largest;
  }

  /// The sum of a row's squared deviations, NaN for one that holds a value which is not finite; the others widen the
  /// ranges.
  template <bool Evenly>
  __device__ __forceinline__ float look_at_row(shared<T> row, bool there, bool scored) {
    unit_type x[Steps] = {};
    read<Evenly>(row, x);
    float sum = unjudged;
    if (Evenly || scored) sum = deviations<Evenly>(x);
    bool finite = Evenly && is_finite(sum);                      // a value that is not shows in the sum
    if (__any_sync(all_lanes, !finite)) finite = all_finite(x);  // in which the team takes part as a whole
    if (there && finite) {
#pragma unroll
      for (int s = 0; s < Steps; ++s) {
        lowest_found_[s] = least(lowest_found_[s], x[s]);
        highest_found_[s] = most(highest_found_[s], x[s]);
      }
    }
    if (!Evenly && channels_ < 2) sum = 0.0F;
    return finite && is_finite(sum) ? sum : unjudged;
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
    float const mean = inverse_ != 0.0F ? total * inverse_ : total / static_cast<float>(channels_);
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

  /// Whether all values of the team's row are.
  static __device__ bool all_finite(unit_type const (&x)[Steps]) {
    int finite = 1;
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
#pragma unroll
      for (int i = 0; i < team::unit; ++i) finite &= is_finite(element_of(x[s], i)) ? 1 : 0;
    }
#pragma unroll
    for (int other = 1; other < team::threads; other *= 2) finite &= __shfl_xor_sync(all_lanes, finite, other);
    return finite != 0;
  }

  /// Joins the ranges that the threads found.
  __device__ void keep_ranges() {
    int const thread = static_cast<int>(threadIdx.x);
    int const warp = warp_of_block();
#pragma unroll
    for (int s = 0; s < Steps; ++s) {
#pragma unroll
      for (int other = team::threads; other < warp_size; other *= 2) {
        lowest_found_[s] = least(lowest_found_[s], from_lane(lowest_found_[s], other));
        highest_found_[s] = most(highest_found_[s], from_lane(highest_found_[s], other));
      }
      if (lane_of_warp() >= team::threads) continue;
      shared_as<unit_type>(memory_.template lowest<T>(warp) + team::channel(s))[0] = lowest_found_[s];
      shared_as<unit_type>(memory_.template highest<T>(warp) + team::channel(s))[0] = highest_found_[s];
    }
    __syncthreads();
    int channels = 0;
    for (int c = thread; c < memory_.channels; c += lag_tuning::threads) {
      float low = infinite;
      float high = -infinite;
#pragma unroll
      for (int w = 0; w < lag_tuning::warps; ++w) {
        T const l = memory_.template lowest<T>(w)[c];
        T const h = memory_.template highest<T>(w)[c];
        low = fminf(low, to_float(l));
        high = fmaxf(high, to_float(h));
      }
      float const range = high - low;
      float const inverse = 1.0F / range;
      bool const counts = c < head_dim_ && range > 0.0F && is_finite(range) && is_finite(inverse);
      memory_.low()[c] = low;
      memory_.scale()[c] = counts ? inverse : 0.0F;
      channels += __popc(__ballot_sync(all_lanes, counts));
    }
    if (lane_of_warp() == 0) memory_.counts()[warp] = channels;
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
  bool whole_ = false;    // all Steps * 16 channels take part
  float inverse_ = 0.0F;  // 1 / channels, where multiplying by it is the same as dividing
  pair low_[Steps];
  pair scale_[Steps];
  unit_type lowest_found_[Steps];
  unit_type highest_found_[Steps];
};

}  // namespace tightkv::detail
