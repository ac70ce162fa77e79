// SPDX-License-Identifier: Apache-2.0
/// Runs the model over new tokens of one or more sequences.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include <tightkv/core/matrix.hpp>

#include "kv_cache.hpp"
#include "model.hpp"
#include "thread_pool.hpp"
#include "tokenizer.hpp"

namespace engine {

/// As many rows as there are.
inline constexpr int all_rows = std::numeric_limits<int>::max();

/// The queries of the last tokens of a call, after RoPE: what methods that watch attention look at.
struct query_capture {
  int window = all_rows;  ///< of so many of the last tokens

  // What a call leaves here.
  int heads = 0;
  int rows = 0;
  int head_dim = 0;
  std::vector<std::vector<float>> layers{};  ///< each `[query_head][rows][head_dim]`
};

/// New tokens of one sequence.
template <tightkv::numeric_element T>
struct new_tokens {
  std::span<token const> tokens;
  kv_cache<T>& cache;                ///< gains a row per token
  query_capture* queries = nullptr;  ///< filled when given
  int outputs = 1;                   ///< hidden states are returned for so many of the last tokens
};

/// The hidden states after the final norm, one row per output, sequence after sequence. Sequences do not see one
/// another; they share the reading of the weights.
///
///     auto const hidden = engine::forward<float>(model, pool, {{.tokens = prompt, .cache = cache}});
///
/// A token at position p sees every row its cache holds, whichever have been evicted, and is turned by RoPE as number p
/// since the beginning. Throws `bad_argument`, with all caches as they were, for tokens outside the vocabulary, a cache
/// of another shape or without room, and a cache given twice.
template <tightkv::numeric_element T>
tightkv::matrix<float> forward(model const& m, thread_pool& pool, std::span<new_tokens<T> const> sequences);

template <tightkv::numeric_element T>
tightkv::matrix<float> forward(model const& m, thread_pool& pool, new_tokens<T> const& sequence) {
  return forward(m, pool, std::span(&sequence, 1));
}

/// Rows of a result, for taking it piece by piece.
struct row_range {
  int first = 0;
  int count = all_rows;  ///< or as many as there are
};

/// The logits, rows x vocabulary, of rows of hidden states.
tightkv::matrix<float> logits(model const& m, thread_pool& pool, tightkv::matrix<float> const& hidden,
                              row_range range = {});

/// The first choice: the token with the largest logit, the first of equals.
token greedy(std::span<float const> logits);

}  // namespace engine
