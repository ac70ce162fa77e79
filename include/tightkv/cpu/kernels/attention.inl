// SPDX-License-Identifier: Apache-2.0

/// Keys `vectors::tile_keys` at a time: channel c of key j of a tile is at `[c][j]`, so that one query's channel meets
/// a vector of keys. Keys past the last are zeros, as are those that are not finite; `finite[j]` says which are.
template <class T>
inline void pack_tile(vectors, T const* const* rows, int count, int dim, float* tile, std::int32_t* finite) {
  constexpr int width = vectors::tile_vectors * lanes<floats>;
  for (int j = 0; j < width; ++j) {
    float poison = 0.0F;
    for (int c = 0; c < dim; ++c) {
      float const x = j < count ? static_cast<float>(rows[j][c]) : 0.0F;
      poison += x * 0.0F;
      tile[c * width + j] = x;
    }
    finite[j] = j < count && poison == 0.0F ? -1 : 0;
    if (finite[j] == 0) {
      for (int c = 0; c < dim; ++c) tile[c * width + j] = 0.0F;
    }
  }
}

/// logits[r][j] = query r times key j of a tile, for a few queries at once: the innermost product.
template <int Rows>
TIGHTKV_INLINE void multiply_tile(float const* queries, float const* tile, int dim, float* logits,
                                  std::ptrdiff_t stride) {
  constexpr int vectors_wide = vectors::tile_vectors;
  floats sum[Rows][vectors_wide];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors_wide; ++v) sum[r][v] = all<floats>(0.0F);
  }
  for (int c = 0; c < dim; ++c) {
    floats key[vectors_wide];
#pragma GCC unroll 4
    for (int v = 0; v < vectors_wide; ++v) key[v] = load<floats>(tile + (c * vectors_wide + v) * lanes<floats>);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      floats const query = all<floats>(queries[r * dim + c]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors_wide; ++v) sum[r][v] = fma(query, key[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors_wide; ++v) store(logits + r * stride + v * lanes<floats>, sum[r][v]);
  }
}

/// finite[j] = all bits where row j holds finite values alone, else none.
template <class T>
inline void mark_finite(vectors, T const* const* rows, int count, int dim, std::int32_t* finite) {
  int const whole = dim / lanes<floats> * lanes<floats>;
  floats const zero = all<floats>(0.0F);
  for (int j = 0; j < count; ++j) {
    floats poison = zero;
    for (int c = 0; c < whole; c += lanes<floats>) poison = fma(load<floats>(rows[j] + c), zero, poison);
    if (whole < dim) poison = fma(load_first<floats>(rows[j] + whole, dim - whole), zero, poison);
    finite[j] = bits(is_nan(poison)) == 0 ? -1 : 0;
  }
}

/// All of a block of queries (a multiple of `vectors::tile_queries`, side by side) against `tiles` tiles of keys.
inline void multiply_tiles(vectors, float const* queries, int count, float const* tiles, int tile_count, int dim,
                           float* logits, std::ptrdiff_t stride) {
  constexpr int width = vectors::tile_vectors * lanes<floats>;
  for (int t = 0; t < tile_count; ++t) {
    float const* const tile = tiles + static_cast<std::ptrdiff_t>(t) * dim * width;
    for (int q = 0; q < count; q += vectors::tile_queries)
      multiply_tile<vectors::tile_queries>(queries + q * dim, tile, dim, logits + q * stride + t * width, stride);
  }
}

/// Logits that do not count, of keys or products that are not finite, become -inf. Returns the greatest; `count` is
/// rounded up to whole vectors, and what lies past it becomes -inf as well.
inline float mask_logits(vectors, float* logits, std::int32_t const* finite, int count) {
  floats const infinity = all<floats>(__builtin_inff());
  floats const masked = all<floats>(-__builtin_inff());
  floats most = masked;
  int const padded = (count + lanes<floats> - 1) / lanes<floats> * lanes<floats>;
  for (int j = count; j < padded; ++j) logits[j] = -__builtin_inff();
  for (int j = 0; j < padded; j += lanes<floats>) {
    floats x = load<floats>(logits + j);
    x = where(both(less(x, infinity), greater(all<ints>(0), load<ints>(finite + j))), x, masked);
    x = where(is_nan(x), masked, x);
    store(logits + j, x);
    most = max(most, x);
  }
  float lane[lanes<floats>];
  store(lane, most);
  float greatest = lane[0];
  for (float const x : lane) greatest = x > greatest ? x : greatest;
  return greatest;
}

/// x[j] = exp(x[j] - least), and their sum.
inline double exponentials(vectors, float* x, int count, float least) {
  constexpr int in_a_float = 1024;  // sums longer than this go on in double
  double sum = 0.0;
  for (int begin = 0; begin < count; begin += in_a_float) {
    floats part = all<floats>(0.0F);
    for (int j = begin; j < count && j < begin + in_a_float; j += lanes<floats>) {
      floats const e = exp(load<floats>(x + j) - all<floats>(least));
      store(x + j, e);
      part = part + e;
    }
    sum += static_cast<double>(total(part));
  }
  return sum;
}

/// sum[j] += factor * x[j].
inline void add_times(vectors, float factor, float const* x, int count, float* sum) {
  for (int j = 0; j < count; j += lanes<floats>)
    store(sum + j, fma(all<floats>(factor), load<floats>(x + j), load<floats>(sum + j)));
}

/// sum[j] += exp(x[j] - log_sum).
inline void add_exponentials(vectors, float log_sum, float const* x, int count, float* sum) {
  for (int j = 0; j < count; j += lanes<floats>)
    store(sum + j, exp(load<floats>(x + j) - all<floats>(log_sum)) + load<floats>(sum + j));
}

/// total[j] += sum[j], and sum[j] = 0.
inline void move_into(vectors, float* sum, int count, double* into) {
  for (int j = 0; j < count; ++j) {
    into[j] += static_cast<double>(sum[j]);
    sum[j] = 0.0F;
  }
}
