// SPDX-License-Identifier: Apache-2.0
/// Logits of some queries against some keys, worked out by a block through shared memory.
#pragma once

#include <cstddef>

#include <tightkv/cuda/block.cuh>

namespace tightkv::detail {

struct attention_tuning {
  static constexpr int threads = 256;
  static constexpr int tile = 64;  // queries, and keys
  static constexpr int side = 16;  // threads along either; each has 4 x 4 logits
  static constexpr int each = tile / side;
  static constexpr int channels = 32;  // that lie in shared memory at a time
  static constexpr int stride = tile + 1;
};

/// A block's shared memory.
struct attention_room {
  static constexpr int tile = attention_tuning::tile;
  static constexpr int rows_size = attention_tuning::channels * attention_tuning::stride;
  static constexpr std::size_t bytes =
      sizeof(double) * attention_tuning::side * tile + sizeof(float) * (2 * rows_size + 4 * tile);

  __device__ shared<double> sums() const { return dynamic_shared<double>(); }  // side x tile
  __device__ shared<float> queries() const { return floats(); }                // channels x tile, padded
  __device__ shared<float> keys() const { return floats() + rows_size; }
  __device__ shared<int> finite_queries() const { return shared_as<int>(floats() + 2 * rows_size); }
  __device__ shared<int> finite_keys() const { return shared_as<int>(floats() + (2 * rows_size + tile)); }
  /// What is taken from a query's logits before `exp`, and what the result is multiplied by.
  __device__ shared<float> shifts() const { return floats() + (2 * rows_size + 2 * tile); }
  __device__ shared<float> factors() const { return floats() + (2 * rows_size + 3 * tile); }

 private:
  static __device__ shared<float> floats() {
    return dynamic_shared<float>(sizeof(double) * attention_tuning::side * tile);
  }
};

/// Rows [first, first + count) of a head, at most a tile of them.
template <class Head>
struct tile_of {
  Head rows;
  int first;
  int count;
};
template <class Head>
tile_of(Head, int, int) -> tile_of<Head>;

/// Which rows of a tile are finite. Ends with a barrier.
template <class Head>
__device__ void find_finite(tile_of<Head> const& t, shared<int> finite) {
  for (int i = warp_of_block(); i < attention_tuning::tile; i += attention_tuning::threads / warp_size) {
    bool ok = i < t.count;
    if (ok) {
      auto const r = t.rows[t.first + i];
      for (int d = lane_of_warp(); d < r.size; d += warp_size) ok = ok && is_finite(to_float(load(&r[d])));
    }
    bool const all = __all_sync(all_lanes, ok) != 0;
    if (lane_of_warp() == 0) finite[i] = all ? 1 : 0;
  }
  __syncthreads();
}

/// Channels [first, first + channels) of a tile, times a factor; zeros where there are none.
template <class Head>
__device__ void stage_channels(tile_of<Head> const& t, int first, int head_dim, float factor, shared<float> to) {
  using tuning = attention_tuning;
  for (int i = static_cast<int>(threadIdx.x); i < tuning::tile * tuning::channels; i += tuning::threads) {
    int const row = i / tuning::channels;
    int const channel = i % tuning::channels;
    float x = 0.0F;
    if (row < t.count && first + channel < head_dim)
      x = to_float(load(&t.rows[t.first + row][first + channel])) * factor;
    to[channel * tuning::stride + row] = x;
  }
}

__device__ inline int query_of_thread() { return static_cast<int>(threadIdx.x) / attention_tuning::side; }
__device__ inline int key_of_thread() { return static_cast<int>(threadIdx.x) % attention_tuning::side; }

/// A thread's logits: of queries each * query_of_thread() + i and keys key_of_thread() + side * j of the tiles.
struct logits {
  float of[attention_tuning::each][attention_tuning::each] = {};

  template <class Queries, class Keys>
  __device__ logits(tile_of<Queries> const& queries, tile_of<Keys> const& keys, int head_dim, float scale,
                    attention_room const& room) {
    using tuning = attention_tuning;
    for (int first = 0; first < head_dim; first += tuning::channels) {
      __syncthreads();
      stage_channels(queries, first, head_dim, scale, room.queries());
      stage_channels(keys, first, head_dim, 1.0F, room.keys());
      __syncthreads();
      for (int c = 0; c < tuning::channels; ++c) {
        float q[tuning::each];
        float k[tuning::each];
#pragma unroll
        for (int i = 0; i < tuning::each; ++i) {
          q[i] = room.queries()[c * tuning::stride + tuning::each * query_of_thread() + i];
          k[i] = room.keys()[c * tuning::stride + key_of_thread() + tuning::side * i];
        }
#pragma unroll
        for (int i = 0; i < tuning::each; ++i) {
#pragma unroll
          for (int j = 0; j < tuning::each; ++j) of[i][j] = fma(q[i], k[j], of[i][j]);
        }
      }
    }
  }
};

}  // namespace tightkv::detail
