// SPDX-License-Identifier: Apache-2.0
/// Column sums of attention, deterministic and without forming it: each query's normaliser, split over the keys, then
/// a block per tile of keys that goes through the queries in order. What the attention ops share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <type_traits>

#include <tightkv/core/matrix.hpp>
#include <tightkv/cuda/attention_tile.cuh>
#include <tightkv/cuda/batch.cuh>
#include <tightkv/cuda/per_head.cuh>
#include <tightkv/view/kv_view.hpp>

namespace tightkv::detail {

/// The largest logit of a query over some keys, and the sum of e^(logit - largest) over them.
struct partial_softmax {
  float most;
  float sum;
};

/// What the kernels are told beside the planes.
struct attention_job {
  int first_head;
  int group;               // query heads per KV head
  int together;            // query heads whose sums are one row of the result
  per_head<int> observed;  // the last so many queries of each of a KV head's query heads
  int longest_window;
  int keys_per_part;  // of a normaliser
  int parts;
  partial_softmax* partial;  // query heads x longest_window x parts

  __device__ partial_softmax* partials(int q, int i) const {
    return partial + (static_cast<std::ptrdiff_t>(q) * longest_window + i) * parts;
  }
};

/// The queries of one head that are looked at, and what each can see.
template <class Head>
struct observed_queries {
  Head rows;
  int first;  // of those looked at
  int count;
  int before;  // keys that came before the first query there is

  __device__ observed_queries(Head const& head, int tokens, int window)
      : rows(head), count(window < head.tokens() ? window : head.tokens()) {
    first = head.tokens() - count;
    before = tokens - head.tokens();
  }
  /// Keys that query i of those looked at can see.
  __device__ int visible(int i) const { return before + first + i + 1; }
  __device__ tile_of<Head> tile(int begin) const {
    int const left = count - begin;
    return {rows, first + begin, left < attention_tuning::tile ? left : attention_tuning::tile};
  }
};

/// One over the square root of head_dim, as the plain kernel has it.
__device__ inline float logit_scale(int head_dim) { return 1.0F / std::sqrt(static_cast<float>(head_dim)); }

/// The logit, or minus infinity where the query does not see the key.
__device__ inline float seen(float logit, bool visible) { return visible && is_finite(logit) ? logit : -infinite; }

/// Block (query head, tile of queries, part of the keys).
template <class Keys, class Queries>
__global__ void __launch_bounds__(attention_tuning::threads)
    attention_rows_kernel(__grid_constant__ Keys const keys, __grid_constant__ Queries const queries,
                          attention_job job) {
  using tuning = attention_tuning;
  attention_room const room{};
  int const q = job.first_head * job.group + static_cast<int>(blockIdx.x);
  int const h = q / job.group;
  auto const key_rows = keys.head(h);
  observed_queries const observed(queries.head(q), key_rows.tokens(), job.observed[h]);
  int const begin = static_cast<int>(blockIdx.y) * tuning::tile;
  if (begin >= observed.count) return;
  auto const tile = observed.tile(begin);
  int const first_key = static_cast<int>(blockIdx.z) * job.keys_per_part;
  int const last_key = first_key + job.keys_per_part;
  int const visible = observed.visible(begin + tile.count - 1);
  int const end_key = last_key < visible ? last_key : visible;

  partial_softmax row[tuning::each];
  for (auto& r : row) r = {-infinite, 0.0F};
  for (int k = first_key; k < end_key; k += tuning::tile) {
    __syncthreads();
    tile_of const key_tile{key_rows, k, end_key - k < tuning::tile ? end_key - k : tuning::tile};
    find_finite(key_tile, room.finite_keys());
    logits const l(tile, key_tile, keys.head_dim(), logit_scale(keys.head_dim()), room);
#pragma unroll
    for (int i = 0; i < tuning::each; ++i) {
      int const sees = observed.visible(begin + tuning::each * query_of_thread() + i);
      float logit[tuning::each];
      float most = row[i].most;
#pragma unroll
      for (int j = 0; j < tuning::each; ++j) {
        int const key = key_of_thread() + tuning::side * j;
        bool const finite = static_cast<int>(room.finite_keys()[key]) != 0;
        logit[j] = seen(l.of[i][j], finite && k + key < sees);
        most = fmaxf(most, logit[j]);
      }
      for (int other = 1; other < tuning::side; other *= 2) most = fmaxf(most, __shfl_xor_sync(all_lanes, most, other));
      float sum = 0.0F;
      if (most > -infinite) {
#pragma unroll
        for (int j = 0; j < tuning::each; ++j) sum += exp(logit[j] - most);
      }
      for (int other = 1; other < tuning::side; other *= 2) sum += __shfl_xor_sync(all_lanes, sum, other);
      if (most > -infinite) row[i] = {most, fma(row[i].sum, exp(row[i].most - most), sum)};
    }
  }
  if (key_of_thread() != 0) return;
  for (int i = 0; i < tuning::each; ++i) {
    int const mine = tuning::each * query_of_thread() + i;
    if (mine >= tile.count) continue;
    partial_softmax* const to = job.partials(q, begin + mine) + blockIdx.z;
    store(&to->most, row[i].most);
    store(&to->sum, row[i].sum);
  }
}

/// Joins the parts of a tile's normalisers; a query that is not finite gets the factor 0.
struct joined_parts {
  __device__ void operator()(attention_job const& job, int q, int i, float& shift, float& factor) const {
    partial_softmax const* const parts = job.partials(q, i);
    float most = -infinite;
    for (int p = 0; p < job.parts; ++p) most = fmaxf(most, load(&parts[p].most));
    float sum = 0.0F;
    for (int p = 0; p < job.parts && most > -infinite; ++p) {
      sum = fma(load(&parts[p].sum), exp(load(&parts[p].most) - most), sum);
    }
    shift = most > -infinite ? most : 0.0F;
    factor = most > -infinite ? 1.0F / sum : 0.0F;
  }
};

/// The engine's own normalisers: log-sum-exps of the view's queries.
template <class RowLse>
struct given_lse {
  RowLse lse;
  int first;  // query of those looked at, worked out by the kernel

  __device__ void operator()(attention_job const&, int q, int i, float& shift, float& factor) const {
    float const x = load(&lse(q, first + i));
    shift = is_finite(x) ? x : 0.0F;
    factor = is_finite(x) ? 1.0F : 0.0F;
  }
};
__device__ inline void set_first(joined_parts&, int) {}
template <class RowLse>
__device__ void set_first(given_lse<RowLse>& lse, int first) {
  lse.first = first;
}

/// Block (row of the result, tile of keys). `finish(row, key, sum, finite)` takes each sum.
template <class Keys, class Queries, class Normaliser, class Finish>
__global__ void __launch_bounds__(attention_tuning::threads, 2)
    attention_columns_kernel(__grid_constant__ Keys const keys, __grid_constant__ Queries const queries,
                             attention_job job, Normaliser normaliser, Finish finish) {
  using tuning = attention_tuning;
  attention_room const room{};
  int const rows_per_head = job.group / job.together;
  int const out_row = job.first_head * rows_per_head + static_cast<int>(blockIdx.x);
  int const h = out_row / rows_per_head;
  auto const key_rows = keys.head(h);
  int const first_key = static_cast<int>(blockIdx.y) * tuning::tile;
  int const left = key_rows.tokens() - first_key;
  if (left <= 0) return;
  tile_of const key_tile{key_rows, first_key, left < tuning::tile ? left : tuning::tile};
  find_finite(key_tile, room.finite_keys());

  double column[tuning::each] = {};
  for (int q = out_row * job.together; q < (out_row + 1) * job.together; ++q) {
    observed_queries const observed(queries.head(q), key_rows.tokens(), job.observed[h]);
    set_first(normaliser, observed.first);
    int const blind = first_key - observed.visible(0) + 1;  // queries before that see none of these keys
    for (int begin = blind > 0 ? blind / tuning::tile * tuning::tile : 0; begin < observed.count;
         begin += tuning::tile) {
      auto const tile = observed.tile(begin);
      __syncthreads();
      find_finite(tile, room.finite_queries());
      if (static_cast<int>(threadIdx.x) < tuning::tile) {
        int const i = static_cast<int>(threadIdx.x);
        float shift = 0.0F;
        float factor = 0.0F;
        if (i < tile.count && static_cast<int>(room.finite_queries()[i]) != 0) {
          normaliser(job, q, begin + i, shift, factor);
        }
        room.shifts()[i] = shift;
        room.factors()[i] = factor;
      }
      logits const l(tile, key_tile, keys.head_dim(), logit_scale(keys.head_dim()), room);
#pragma unroll
      for (int j = 0; j < tuning::each; ++j) {
        int const key = key_of_thread() + tuning::side * j;
        bool const finite = static_cast<int>(room.finite_keys()[key]) != 0;
        float sum = 0.0F;
#pragma unroll
        for (int i = 0; i < tuning::each; ++i) {
          int const mine = tuning::each * query_of_thread() + i;
          float const factor = room.factors()[mine];
          float const shift = room.shifts()[mine];
          float const logit = seen(l.of[i][j], finite && first_key + key < observed.visible(begin + mine));
          if (factor != 0.0F) sum = fma(exp(logit - shift), factor, sum);
        }
        column[j] += static_cast<double>(sum);
      }
    }
  }
  for (int j = 0; j < tuning::each; ++j) {
    room.sums()[query_of_thread() * tuning::tile + key_of_thread() + tuning::side * j] = column[j];
  }
  __syncthreads();
  int const key = static_cast<int>(threadIdx.x);
  if (key >= key_tile.count) return;
  double sum = 0.0;
  for (int i = 0; i < tuning::side; ++i) sum += static_cast<double>(room.sums()[i * tuning::tile + key]);
  finish(out_row, first_key + key, sum, static_cast<int>(room.finite_keys()[key]) != 0);
}

/// Sums over `together` query heads at a time of what the last `observed[h]` queries of head h attend to.
struct columns_to_sum {
  char const* what;
  int together;
  std::span<int const> observed;
};

template <class V, class Finish>
void sum_attention_columns(cuda const& ex, V const& view, columns_to_sum const& c, Finish const& finish) {
  using tuning = attention_tuning;
  if (view.heads() == 0 || longest(view.keys) == 0) return;
  int const group = group_size(view);
  int const most_keys = longest(view.keys);
  int const window = std::min(*std::max_element(c.observed.begin(), c.observed.end()), longest(view.queries));
  auto const observed = table_of(ex, c.observed);
  unsigned const tiles = blocks_for(window, tuning::tile);
  unsigned const key_tiles = blocks_for(most_keys, tuning::tile);

  // Few queries are held against many keys: the keys are shared out, so that there is work for the whole device.
  constexpr unsigned enough_blocks = 512;
  unsigned const rows = std::max(1U, tiles * static_cast<unsigned>(view.queries.heads()));
  unsigned const parts_wanted = std::clamp(enough_blocks / rows, 1U, (key_tiles + 3) / 4);
  int const keys_per_part = static_cast<int>((key_tiles + parts_wanted - 1) / parts_wanted) * tuning::tile;
  unsigned const parts = blocks_for(most_keys, keys_per_part);
  std::size_t const partials =
      static_cast<std::size_t>(view.queries.heads()) * static_cast<std::size_t>(window) * parts;
  device_array<partial_softmax> const partial(ex, view_with_row_lse<V> ? 0 : partials);

  int const step = std::min(heads_at_once(view.keys), std::max(1, heads_at_once(view.queries) / group));
  for (int first = 0; first < view.heads(); first += std::min(step, view.heads() - first)) {
    int const heads = std::min(step, view.heads() - first);
    auto const keys = part_of(view.keys, first, heads);
    auto const queries = part_of(view.queries, first * group, heads * group);
    using K = std::remove_cvref_t<decltype(keys)>;
    using Q = std::remove_cvref_t<decltype(queries)>;
    attention_job const job{.first_head = first,
                            .group = group,
                            .together = c.together,
                            .observed = observed.view(),
                            .longest_window = window,
                            .keys_per_part = keys_per_part,
                            .parts = static_cast<int>(parts),
                            .partial = partial.data()};
    dim3 const columns(static_cast<unsigned>(heads * (group / c.together)), key_tiles);
    if constexpr (view_with_row_lse<V>) {
      using lse = std::remove_cvref_t<decltype(view.row_lse)>;
      static_assert(std::is_same_v<typename lse::memory, device_memory>, "tightkv: row_lse must be in device memory");
      launch(ex, c.what, attention_columns_kernel<K, Q, given_lse<lse>, Finish>,
             {columns, tuning::threads, attention_room::bytes}, keys, queries, job, given_lse<lse>{view.row_lse, 0},
             finish);
    } else {
      launch(ex, c.what, attention_rows_kernel<K, Q>,
             {dim3(static_cast<unsigned>(heads * group), tiles, parts), tuning::threads, attention_room::bytes}, keys,
             queries, job);
      launch(ex, c.what, attention_columns_kernel<K, Q, joined_parts, Finish>,
             {columns, tuning::threads, attention_room::bytes}, keys, queries, job, joined_parts{}, finish);
    }
  }
}

}  // namespace tightkv::detail
