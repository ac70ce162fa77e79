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
  static constexpr int pieces = threads * pieces_per_thread;  // between two barriers
  static constexpr int enough_blocks = 1024;
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
/// `sources` has room for two tiles of rows. While a tile is written, the next one is read: rows only move forward, so
/// what a later tile reads is never what an earlier one writes.
template <class Head>
__device__ void move_pieces(Head const& rows, int begin, int width, int const* kept, int count, shared<int> sources) {
  using row_type = std::remove_cvref_t<decltype(rows[0])>;
  using team = row_pieces<std::remove_cvref_t<decltype(rows[0][0])>>;
  constexpr int mine = compact_tuning::pieces_per_thread;
  int const tile = compact_tuning::pieces / width;
  int const thread = static_cast<int>(threadIdx.x);

  // The row of the tile, and the first element, of a thread's m-th piece.
  auto const row_of = [&](int m) {
    int const i = m * compact_tuning::threads + thread;
    return piece_order<row_type>::along_rows ? i / width : i % tile;
  };
  auto const element_of = [&](int m) {
    int const i = m * compact_tuning::threads + thread;
    return (begin + (piece_order<row_type>::along_rows ? i % width : i / tile)) * team::width;
  };
  struct pieces {
    typename team::packet_type of[mine];
    unsigned moves;  // bit m: the m-th one
  };
  auto const read = [&](int first, shared<int> from) {
    pieces p;
    p.moves = 0;
#pragma unroll
    for (int m = 0; m < mine; ++m) {
      int const row = row_of(m);
      int const element = element_of(m);
      if (row >= tile || first + row >= count || element >= (begin + width) * team::width) continue;
      int const source = from[row];
      if (source == first + row) continue;
      p.of[m] = team::read(rows[source], element);
      p.moves |= 1U << m;
    }
    return p;
  };
  int ahead[mine];
  auto const load_sources = [&](int first) {
#pragma unroll
    for (int m = 0; m < mine; ++m) {
      int const i = m * compact_tuning::threads + thread;
      ahead[m] = i < tile && first + i < count ? load(kept + first + i) : 0;
    }
  };
  auto const store_sources = [&](shared<int> to) {
#pragma unroll
    for (int m = 0; m < mine; ++m) to[m * compact_tuning::threads + thread] = ahead[m];
  };

  for (int turn = 0; turn < 2; ++turn) {
    load_sources(turn * tile);
    store_sources(sources + turn * compact_tuning::pieces);
  }
  __syncthreads();
  auto now = read(0, sources);
  for (int first = 0, turn = 0; first < count; first += tile, turn ^= 1) {
    load_sources(first + 2 * tile);
    __syncthreads();  // every row of the tile has been read before one is overwritten
    auto const next = read(first + tile, sources + (turn ^ 1) * compact_tuning::pieces);
#pragma unroll
    for (int m = 0; m < mine; ++m) {
      if ((now.moves >> m & 1U) != 0) write_piece(rows[first + row_of(m)], element_of(m), now.of[m]);
    }
    store_sources(sources + turn * compact_tuning::pieces);
    now = next;
  }
}

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
__global__ void __launch_bounds__(compact_tuning::threads, 3)
    compact_kernel(device_plan p, int first_head, __grid_constant__ Planes const planes) {
  int const h = first_head + static_cast<int>(blockIdx.x);
  planes.visit(blockIdx.z, [&](auto const& rows) {
    using T = std::remove_cvref_t<decltype(rows.head(h)[0][0])>;
    int const pieces = (rows.head_dim() - 1) / row_pieces<T>::width + 1;
    int const width = (pieces - 1) / static_cast<int>(gridDim.y) + 1;
    int const begin = static_cast<int>(blockIdx.y) * width;
    if (begin >= pieces || p.after[h] == p.before[h]) return;
    move_pieces(rows.head(h), begin, width < pieces - begin ? width : pieces - begin, p.kept_of(h), p.after[h],
                dynamic_shared<int>());
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
                          sizeof(int) * 2 * tuning::pieces},
                         p.device(), first, list);
        },
        planes...);
  }
};

}  // namespace tightkv
