// SPDX-License-Identifier: Apache-2.0
/// Attention of new tokens over a cache, of which any rows may have been evicted.
#pragma once

#include <span>

#include <tightkv/core/matrix.hpp>

#include "kv_cache.hpp"
#include "thread_pool.hpp"

namespace engine {

/// The new tokens of one sequence. Their keys and values already stand in the cache, behind the rows in use.
template <tightkv::numeric_element T>
struct attention_of {
  kv_cache<T> const& cache;
  int layer = 0;
  tightkv::matrix_view<float const> queries;  ///< new tokens x (query_head, head_dim), after RoPE
  tightkv::matrix_view<float> out;  ///< the same shape, or with shorter heads where a row holds several values
  int values_per_row = 1;           ///< each for its share of the query heads
};

/// `out = softmax(queries keys' / sqrt(head_dim)) values`, per query head, over the rows of its KV head: all that were
/// in use, and of the new ones those up to the token itself. The softmax is computed on the way, a tile of rows at a
/// time.
template <tightkv::numeric_element T>
void attend(thread_pool& pool, std::span<attention_of<T> const> sequences);

}  // namespace engine
