// SPDX-License-Identifier: Apache-2.0
/// Rows in shared memory: neighbouring threads read neighbouring bytes of global memory, and then each thread finds a
/// whole row where it needs it.
#pragma once

#include <algorithm>
#include <cstddef>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/error.hpp>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/row_team.cuh>
#include <tightkv/view/plane.hpp>

namespace tightkv::detail {

struct row_tile_tuning {
  static constexpr int most_rows = 128;
  /// Of shared memory: several blocks share a processor, so that some load while others sum.
  static constexpr int enough_bytes = 36 << 10;
  static constexpr int most_bytes = 200 << 10;
};

/// Adds up lanes by halves. A template, because nvcc keeps the lanes in memory where it must unroll a loop in a loop.
template <int HalfWidth>
__device__ __forceinline__ void fold_lanes(float (&lane)[lane_sum::lanes]) {
#pragma unroll
  for (int i = 0; i < HalfWidth; ++i) lane[i] += lane[i + HalfWidth];
  if constexpr (HalfWidth > 1) fold_lanes<HalfWidth / 2>(lane);
}

/// Brings rows of a head to shared memory in pieces of 16 bytes, neighbouring threads neighbouring pieces.
template <class T, class Head>
class row_carrier {
 public:
  using team = row_team<T, 16>;
  static constexpr int piece = team::packet_type::size;

  /// Rows come to lie `stride` pieces apart. For all threads of the block, as `bring`.
  __device__ row_carrier(Head const& head, int head_dim, int stride)
      : head_(head), pieces_((head_dim + piece - 1) / piece), stride_(stride) {}

  /// Begins to bring rows [first, first + count), as one batch.
  __device__ void bring(int first, int count, shared<T> to) const {
    int const threads = static_cast<int>(blockDim.x);
    int const rows_on = threads / pieces_;
    int const pieces_on = threads - rows_on * pieces_;
    int row = static_cast<int>(threadIdx.x) / pieces_;
    int column = static_cast<int>(threadIdx.x) - row * pieces_;
#pragma unroll 2
    while (row < count) {
      team::bring(head_[first + row], column * piece, to + (row * stride_ + column) * piece);
      row += rows_on;
      column += pieces_on;
      if (column >= pieces_) {
        column -= pieces_;
        ++row;
      }
    }
    end_batch();
  }

 private:
  Head head_;
  int pieces_;
  int stride_;
};

/// Rows that lie evenly apart, the usual case, cost an addition for each piece. Where a thread's pieces are not all of
/// one column, or not aligned, they are brought one by one.
template <class T, class Element>
class row_carrier<T, head_rows<Element, strided::locator, contiguous>> {
 public:
  using team = row_team<T, 16>;
  static constexpr int piece = team::packet_type::size;

  __device__ row_carrier(head_rows<Element, strided::locator, contiguous> const& head, int head_dim, int stride)
      : begin_(head[0].data), apart_(head[1].data - begin_), head_dim_(head_dim), stride_(stride) {
    int const threads = static_cast<int>(blockDim.x);
    int const pieces = (head_dim + piece - 1) / piece;
    bool const evenly = threads % pieces == 0 && team::aligned(begin_, head_dim) && apart_ % piece == 0;
    rows_on_ = evenly ? threads / pieces : 0;
    if (!evenly) return;
    int const first_row = static_cast<int>(threadIdx.x) / pieces;
    int const column = (static_cast<int>(threadIdx.x) - first_row * pieces) * piece;
    begin_ += first_row * apart_ + column;
    landing_ = first_row * stride * piece + column;
  }

  __device__ __forceinline__ void bring(int first, int count, shared<T> to) const {
    if (rows_on_ == 0) return one_by_one().bring(first, count, to);
    Element* from = begin_ + first * apart_;
    std::ptrdiff_t const on = rows_on_ * apart_;
    int const landing_on = rows_on_ * stride_ * piece;
    int const end = count * stride_ * piece;
    int landing = landing_;
    for (; landing + 3 * landing_on < end; landing += 4 * landing_on) {  // four that need no question each
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        begin_copy<T>(to + landing + i * landing_on, from);
        from += on;
      }
    }
    for (; landing < end; landing += landing_on) {
      begin_copy<T>(to + landing, from);
      from += on;
    }
    end_batch();
  }

 private:
  struct rows {
    Element* begin;
    std::ptrdiff_t apart;
    int head_dim;
    __device__ row<Element> operator[](int t) const { return {begin + t * apart, head_dim}; }
  };
  __device__ row_carrier<T, rows> one_by_one() const { return {rows{begin_, apart_, head_dim_}, head_dim_, stride_}; }

  Element* begin_;        // the thread's piece of row 0, if evenly, or row 0
  std::ptrdiff_t apart_;  // elements from one row to the next
  int head_dim_;
  int stride_;
  int rows_on_;      // from a thread's row to its next; 0 if not evenly
  int landing_ = 0;  // of the thread's first piece in the tile, in elements
};

/// The rows of a tile in shared memory.
template <class T>
struct row_tile {
  using piece_type = packet<T, 16>;
  static constexpr int piece = piece_type::size;
  static constexpr int lanes = lane_sum::lanes;

  shared<T> data;
  int head_dim;
  int stride;  // pieces from one row to the next

  __device__ row_tile(shared<T> room, int dim) : data(room), head_dim(dim), stride(stride_of(dim)) {}

  TIGHTKV_HD static int pieces_of(int dim) { return (dim + piece - 1) / piece; }
  /// Odd, so that threads that read the same place of neighbouring rows meet different banks.
  TIGHTKV_HD static int stride_of(int dim) { return pieces_of(dim) | 1; }
  TIGHTKV_HD static int bytes_of_row(int dim) { return stride_of(dim) * 16; }

  /// Rows of a tile: 128, fewer where they are long, at least a warp's.
  static int rows(char const* who, int dim) {
    using tuning = row_tile_tuning;
    int const bytes = bytes_of_row(dim);
    expects(warp_size * bytes <= tuning::most_bytes, who, "head_dim is too large for a GPU", "head_dim", dim);
    int rows = tuning::most_rows;
    while (rows > warp_size && rows * bytes > tuning::enough_bytes) rows /= 2;
    return rows;
  }

  /// Brings rows [first, first + count) of a head, and waits for them. For all threads of the block.
  template <class Head>
  __device__ void bring(Head const& head, int first, int count) const {
    row_carrier<T, Head>(head, head_dim, stride).bring(first, count, data);
    wait_for_all_but<0>();
    __syncthreads();
  }

  /// The sum over a row in 16 lanes: `add(lanes, first, x, n)` adds the n elements from `first` on.
  template <class Add>
  __device__ __forceinline__ float sum(int row, Add const& add) const {
    float lane[lanes] = {};
    int first = 0;
#pragma unroll 2
    for (; first + lanes <= head_dim; first += lanes) one_step<true>(lane, row, first, add);
    if (first < head_dim) one_step<false>(lane, row, first, add);
    fold_lanes<lanes / 2>(lane);
    return lane[0];
  }

 private:
  template <bool Whole, class Add>
  __device__ __forceinline__ void one_step(float (&lane)[lanes], int row, int first, Add const& add) const {
    float x[lanes];
#pragma unroll
    for (int k = 0; k < lanes / piece; ++k) {
      bool const there = Whole || first + k * piece < head_dim;
      piece_type const p = there ? shared_as<piece_type>(data)[row * stride + first / piece + k] : piece_type{};
#pragma unroll
      for (int i = 0; i < piece; ++i) x[k * piece + i] = element_of(p, i);
    }
    add(lane, first, x, Whole ? lanes : head_dim - first);
  }
};

/// Functions, not lambdas, since only they can be made to be inlined.
struct add_squares {
  using lanes = float[lane_sum::lanes];
  __device__ __forceinline__ void operator()(lanes& lane, int, lanes const& x, int n) const {
#pragma unroll
    for (int i = 0; i < lane_sum::lanes; ++i) {
      if (i < n) lane[i] = fma(x[i], x[i], lane[i]);
    }
  }
};

struct add_products {
  using lanes = float[lane_sum::lanes];
  shared<float> with;  // whole steps of 16

  __device__ __forceinline__ void operator()(lanes& lane, int first, lanes const& x, int n) const {
    using four = packet<float, 16>;
#pragma unroll
    for (int k = 0; k < lane_sum::lanes; k += four::size) {
      four const y = shared_as<four>(with + first + k)[0];
#pragma unroll
      for (int i = 0; i < four::size; ++i) {
        if (k + i < n) lane[k + i] = fma(x[k + i], y.element[i], lane[k + i]);
      }
    }
  }
};

}  // namespace tightkv::detail
