// SPDX-License-Identifier: Apache-2.0
/// `compact` on a GPU, in place: rows only move towards the front, so a block that goes forward never overtakes itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/block.cuh>
#include <tightkv/cuda/plan.cuh>
#include <tightkv/ops/compact.hpp>

namespace tightkv {
namespace detail {

struct compact_tuning {
  static constexpr int threads = 256;
  static constexpr int pieces_per_thread = 2;
  static constexpr int pieces = threads * pieces_per_thread;  // of a tile
  static constexpr int stages = 4;                            // tiles: one is written while the others arrive
  static constexpr int blocks = 6;                            // on a processor
  static constexpr int enough_blocks = 512;
  static constexpr std::size_t ring_bytes = std::size_t{16} * stages * pieces;
};

/// Rows are moved in pieces of 16 bytes' worth of elements.
template <class T>
using row_pieces = row_team<std::remove_const_t<T>, 16>;

template <class T>
__device__ void write_piece(row<T> const& r, int first, typename row_pieces<T>::packet_type const& p) {
  using team = row_pieces<T>;
  if (team::aligned(r.data, r.size)) {
    store(reinterpret_cast<typename team::packet_type*>(r.data + first), p);
    return;
  }
#pragma unroll
  for (int i = 0; i < team::width; ++i) {
    if (first + i < r.size) store(&r[first + i], p.element[i]);
  }
}
template <class T>
__device__ void write_piece(grouped_row<T> const& r, int first, typename row_pieces<T>::packet_type const& p) {
#pragma unroll
  for (int i = 0; i < row_pieces<T>::width; ++i) {
    if (first + i < r.size) store(&r[first + i], p.element[i]);
  }
}

/// Pieces in the order that neighbouring threads should have them: along a row, unless its elements lie apart.
template <class Row>
struct piece_order {
  static constexpr bool along_rows = false;
};
template <class T>
struct piece_order<row<T>> {
  static constexpr bool along_rows = true;
};

/// Moves pieces [begin, begin + width) of the kept rows of a head. For all threads of a block, which owns those pieces.
/// While a tile is written, the next ones are on their way: rows only move forward, so what a later tile reads is never
/// what an earlier one writes. A piece is brought to shared memory and written from there by the same thread.
template <class Head>
class piece_mover {
 public:
  using row_type = std::remove_cvref_t<decltype(std::declval<Head const&>()[0])>;
  using T = std::remove_cvref_t<decltype(std::declval<row_type const&>()[0])>;
  using team = row_pieces<T>;

  __device__ piece_mover(Head const& rows, int begin, int width, int const* kept, int count)
      : rows_(rows), begin_(begin), width_(width), tile_(compact_tuning::pieces / width), kept_(kept), count_(count) {}

  __device__ void move() {
    constexpr int ahead = compact_tuning::stages - 1;
    for (int tile = 0; tile < ahead; ++tile) {
      load_sources(tile);
      store_sources(tile);
      __syncthreads();
      bring(tile);
    }
    load_sources(ahead);
    store_sources(ahead);
    load_sources(ahead + 1);
    for (int tile = 0; tile * tile_ < count_; ++tile) {
      wait_for_all_but<ahead - 1>();
      __syncthreads();  // every row of the tile has been read before one is overwritten
      bring(tile + ahead);
      store_sources(tile + ahead + 1);
      load_sources(tile + ahead + 2);
      write(tile);
    }
  }

 private:
  static constexpr int mine = compact_tuning::pieces_per_thread;
  static constexpr bool along_rows = piece_order<row_type>::along_rows;

  static __device__ int piece(int m) { return m * compact_tuning::threads + static_cast<int>(threadIdx.x); }
  /// The row of the tile, and the first element, of a thread's m-th piece.
  __device__ int row_of(int m) const { return along_rows ? piece(m) / width_ : piece(m) % tile_; }
  __device__ int element_of(int m) const {
    return (begin_ + (along_rows ? piece(m) % width_ : piece(m) / tile_)) * team::width;
  }
  __device__ shared<T> landing(int tile, int m) const {
    int const place = tile % compact_tuning::stages * compact_tuning::pieces + piece(m);
    return dynamic_shared<T>() + place * team::width;
  }
  static __device__ shared<int> sources(int tile) {
    return dynamic_shared<int>(compact_tuning::ring_bytes) + tile % 2 * compact_tuning::pieces;
  }

  /// Where the rows of a tile come from: a thread has some of them until they are stored for all.
  __device__ void load_sources(int tile) {
#pragma unroll
    for (int m = 0; m < mine; ++m) {
      int const row = tile * tile_ + piece(m);
      sources_[m] = piece(m) < tile_ && row < count_ ? load(kept_ + row) : 0;
    }
  }
  __device__ void store_sources(int tile) const {
#pragma unroll
    for (int m = 0; m < mine; ++m) sources(tile)[piece(m)] = sources_[m];
  }

  __device__ void bring(int tile) {
    moves_ <<= mine;
#pragma unroll
    for (int m = 0; m < mine; ++m) {
      int const r = row_of(m);
      int const to = tile * tile_ + r;
      if (r >= tile_ || to >= count_ || (!along_rows && piece(m) >= tile_ * width_)) continue;
      int const from = sources(tile)[r];
      if (from == to) continue;
      team::bring(rows_[from], element_of(m), landing(tile, m));
      moves_ |= 1U << m;
    }
    end_batch();
  }
  __device__ void write(int tile) const {
    unsigned const moves = moves_ >> (mine * (compact_tuning::stages - 1));
#pragma unroll
    for (int m = 0; m < mine; ++m) {
      if ((moves >> m & 1U) == 0) continue;
      typename team::packet_type const p = shared_as<typename team::packet_type>(landing(tile, m))[0];
      write_piece(rows_[tile * tile_ + row_of(m)], element_of(m), p);
    }
  }

  Head rows_;
  int begin_;
  int width_;
  int tile_;  // rows of a tile
  int const* kept_;
  int count_;
  int sources_[mine] = {};
  unsigned moves_ = 0;  // `mine` bits for each tile on its way, the latest one's the lowest
};

/// Planes of different types, as one argument of a kernel.
template <class... P>
struct plane_list {
  template <class F>
  __device__ void visit(unsigned, F const&) const {}
};
template <class P, class... More>
struct plane_list<P, More...> {
  P first;
  plane_list<More...> more;

  template <class F>
  __device__ void visit(unsigned i, F const& f) const {
    if (i == 0) {
      f(first);
    } else {
      more.visit(i - 1, f);
    }
  }
};

inline plane_list<> list_of() { return {}; }
template <class P, class... More>
plane_list<P, More...> list_of(P const& first, More const&... more) {
  return {first, list_of(more...)};
}

template <class Planes>
__global__ void __launch_bounds__(compact_tuning::threads, compact_tuning::blocks)
    compact_kernel(device_plan p, int first_head, __grid_constant__ Planes const planes) {
  int const h = first_head + static_cast<int>(blockIdx.x);
  planes.visit(blockIdx.z, [&](auto const& rows) {
    using T = std::remove_cvref_t<decltype(rows.head(h)[0][0])>;
    int const pieces = (rows.head_dim() - 1) / row_pieces<T>::width + 1;
    int const width = (pieces - 1) / static_cast<int>(gridDim.y) + 1;
    int const begin = static_cast<int>(blockIdx.y) * width;
    if (begin >= pieces || p.after[h] == p.before[h]) return;
    auto const head = rows.head(h);
    piece_mover<std::remove_cvref_t<decltype(head)>> mover(head, begin, width < pieces - begin ? width : pieces - begin,
                                                           p.kept_of(h), p.after[h]);
    mover.move();
  });
}

template <class P>
int pieces_of(P const& rows) {
  return (rows.head_dim() - 1) / row_pieces<typename P::value_type>::width + 1;
}

}  // namespace detail

template <>
struct kernel<compact_fn, cuda> {
  template <class... P>
  static void run(cuda const& ex, basic_plan<device_memory> const& p, P const&... planes) {
    using tuning = detail::compact_tuning;
    if (!p.evicts()) return;
    // Slices of rows give more blocks; those of at least 32 bytes still use whole sectors.
    constexpr int count = static_cast<int>(sizeof...(P));
    int const wanted = tuning::enough_blocks / (p.heads() * count);
    int const slices = std::clamp(wanted, 1, std::max(1, std::max({detail::pieces_of(planes)...}) / 2));
    detail::each_part(
        [&](int first, int heads, auto const&... part) {
          auto const list = detail::list_of(part...);
          detail::launch(ex, "compact", detail::compact_kernel<std::remove_cvref_t<decltype(list)>>,
                         {dim3(static_cast<unsigned>(heads), static_cast<unsigned>(slices), count), tuning::threads,
                          tuning::ring_bytes + sizeof(int) * 2 * tuning::pieces},
                         p.device(), first, list);
        },
        planes...);
  }
};

}  // namespace tightkv
