// SPDX-License-Identifier: Apache-2.0
/// Rows that travel through shared memory: neighbouring threads read neighbouring bytes of global memory, and then each
/// team finds its row where it needs it.
#pragma once

#include <algorithm>
#include <cstddef>

#include <tightkv/core/error.hpp>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/row_team.cuh>

namespace tightkv::detail {

struct staged_rows_tuning {
  static constexpr int stages = 2;        // tiles of one warp: one is summed while the next arrives
  static constexpr int tiles = 4;         // that a warp goes through
  static constexpr int most_warps = 8;    // of a block
  static constexpr int bytes = 96 << 10;  // of shared memory for a block, where that is enough for a warp
  static constexpr int most_bytes = 160 << 10;
};

/// A tile is as many rows as a warp has teams.
template <class T>
struct staged_rows {
  using team = row_team<T, 16>;
  using packet_type = typename team::packet_type;
  static constexpr int piece = packet_type::size;
  static constexpr int rows = team::per_warp;

  /// Elements from one row to the next: padded, so that the rows that a warp reads together lie in different banks.
  TIGHTKV_HD static int stride_of(int head_dim) {
    int stride = (head_dim + piece - 1) / piece * piece;
    while (stride * static_cast<int>(sizeof(T)) % 128 != lane_sum::lanes * static_cast<int>(sizeof(T))) stride += piece;
    return stride;
  }
  static int bytes_of_warp(int head_dim) {
    return staged_rows_tuning::stages * rows * stride_of(head_dim) * static_cast<int>(sizeof(T));
  }
  /// How many warps a block can have.
  static int warps(char const* who, int head_dim) {
    int const bytes = bytes_of_warp(head_dim);
    expects(bytes <= staged_rows_tuning::most_bytes, who, "head_dim is too large for a GPU", "head_dim", head_dim);
    return std::clamp(staged_rows_tuning::bytes / bytes, 1, staged_rows_tuning::most_warps);
  }

  shared<T> data;  // of this warp
  int head_dim;
  int stride;

  __device__ staged_rows(shared<T> of_block, int dim) : head_dim(dim), stride(stride_of(dim)) {
    data = of_block + static_cast<int>(threadIdx.x) / warp_size * (staged_rows_tuning::stages * rows * stride);
  }

  /// Begins to bring rows [first, first + count) to a stage. For all threads of the warp.
  template <class Head>
  __device__ void bring(Head const& head, int first, int count, int stage) const {
    int const pieces = (head_dim + piece - 1) / piece;
    int column = static_cast<int>(threadIdx.x) % warp_size;
    for (int r = 0; r < count;) {
      if (column >= pieces) {
        column -= pieces;
        ++r;
        continue;
      }
      bring(head[first + r], column * piece, data + ((stage * rows + r) * stride + column * piece));
      column += warp_size;
    }
    end_batch();
  }

  /// As `sum_row`, for the team's row of a stage.
  template <class Add>
  __device__ float sum(int stage, bool there, Add const& add) const {
    team_sum<team> sum;
    int const row = team::index() % team::per_warp;
    auto const packets = shared_as<packet_type>(data + (stage * rows + row) * stride);
#pragma unroll 4
    for (int first = team::member() * piece; first < head_dim; first += lane_sum::lanes) {
      if (!there) continue;
      packet_type const p = packets[first / piece];
#pragma unroll
      for (int i = 0; i < piece; ++i) {
        if (first + i < head_dim) sum.lane[i] = add(sum.lane[i], first + i, to_float(p.element[i]));
      }
    }
    return sum.total();
  }

 private:
  template <class Element>
  static __device__ void bring(row<Element> const& r, int first, shared<T> to) {
    if (!team::aligned(r.data, r.size)) return copy(r, first, to);
    begin_copy<T>(to, r.data + first);
  }
  template <class Row>
  static __device__ void bring(Row const& r, int first, shared<T> to) {
    copy(r, first, to);
  }
  template <class Row>
  static __device__ void copy(Row const& r, int first, shared<T> to) {
    for (int i = 0; i < piece; ++i) to[i] = first + i < r.size ? load(&r[first + i]) : T{};
  }
};

/// Calls `use(token, sum, is_first_of_its_team)` for each row that this warp sums, in all threads of the team.
template <class T, class Head, class Add, class Use>
__device__ void sum_staged_rows(staged_rows<T> const& staged, Head const& head, Add const& add, Use const& use) {
  using tuning = staged_rows_tuning;
  using team = typename staged_rows<T>::team;
  constexpr int rows = staged_rows<T>::rows;
  int const warps = static_cast<int>(blockDim.x) / warp_size;
  int const warp = static_cast<int>(threadIdx.x) / warp_size;
  int const begin = (static_cast<int>(blockIdx.y) * warps + warp) * tuning::tiles * rows;
  int const left = head.tokens() - begin;
  auto const count_of = [&](int tile) {
    int const n = left - tile * rows;
    return n < 0 || tile >= tuning::tiles ? 0 : n < rows ? n : rows;
  };
  staged.bring(head, begin, count_of(0), 0);
  for (int tile = 0; count_of(tile) > 0; ++tile) {
    staged.bring(head, begin + (tile + 1) * rows, count_of(tile + 1), (tile + 1) % tuning::stages);
    wait_for_all_but<1>();
    __syncwarp();
    int const row = team::index() % team::per_warp;
    bool const there = row < count_of(tile);
    float const sum = staged.sum(tile % tuning::stages, there, add);
    if (there) use(begin + tile * rows + row, sum, team::member() == 0);
    __syncwarp();
  }
}

/// Blocks along the tokens of a head.
template <class T>
unsigned staged_blocks(int tokens, int warps) {
  return blocks_for(tokens, staged_rows_tuning::tiles * staged_rows<T>::rows * warps);
}

}  // namespace tightkv::detail
