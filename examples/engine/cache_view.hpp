// SPDX-License-Identifier: Apache-2.0
/// The library's view of the engine's cache: where the rows of one layer are. Nothing is copied.
#pragma once

#include <cstddef>

#include <tightkv/view/kv_view.hpp>
#include <tightkv/view/layouts.hpp>

#include "forward.hpp"
#include "kv_cache.hpp"

namespace engine {

namespace detail {

template <class T>
auto plane_of(kv_cache<T> const& cache, int layer, T* rows) {
  auto const& s = cache.shape();
  return tightkv::hnd(rows, {.heads = s.kv_heads, .tokens = s.capacity, .head_dim = s.head_dim, .capacity = s.capacity})
      .with_lengths(cache.lengths(layer).data());
}

}  // namespace detail

/// The keys of a layer, per KV head. The planes see the cache's own lengths: they stay right as it grows and shrinks.
template <class T>
auto keys_of(kv_cache<T>& cache, int layer) {
  return detail::plane_of(cache, layer, cache.keys(layer));
}
template <class T>
auto values_of(kv_cache<T>& cache, int layer) {
  return detail::plane_of(cache, layer, cache.values(layer));
}

/// The captured queries of a layer, per query head.
inline auto queries_of(query_capture const& capture, int layer) {
  return tightkv::hnd(capture.layers[static_cast<std::size_t>(layer)].data(),
                      {.heads = capture.heads, .tokens = capture.rows, .head_dim = capture.head_dim});
}

/// What a method looks at, and what it compacts.
///
///     tightkv::lag_kv::state state;
///     auto const done = tightkv::compress(ex, tightkv::lag_kv{}, engine::view_of(cache, layer), state);
///     cache.compacted(layer, done.plan.lengths());
template <class T>
auto view_of(kv_cache<T>& cache, int layer) {
  return tightkv::kv_view(keys_of(cache, layer), values_of(cache, layer));
}
/// The same for methods that watch attention.
template <class T>
auto view_of(kv_cache<T>& cache, int layer, query_capture const& capture) {
  return tightkv::kv_view(keys_of(cache, layer), values_of(cache, layer), queries_of(capture, layer));
}

}  // namespace engine
