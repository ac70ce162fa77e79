// SPDX-License-Identifier: Apache-2.0

/// to[c] = scale * row[c]. Returns whether all are finite.
template <class T>
inline bool scale_row(vectors, T const* row, int dim, float scale, float* to) {
  floats poison = all<floats>(0.0F);
  int c = 0;
  for (; c + lanes<floats> <= dim; c += lanes<floats>) {
    floats const x = load<floats>(row + c) * all<floats>(scale);
    store(to + c, x);
    poison = fma(x, all<floats>(0.0F), poison);
  }
  if (c < dim) {
    floats const x = load_first<floats>(row + c, dim - c) * all<floats>(scale);
    store_first(to + c, x, dim - c);
    poison = fma(x, all<floats>(0.0F), poison);
  }
  return bits(is_nan(poison)) == 0;
}

/// Keys `vectors::tile_vectors` vectors at a time: channel c of key j of a tile is at `[c][j]`, so that one query's
/// channel meets vectors of keys. Keys past the last are zeros, as are those that are not finite; `finite[j]` says which
/// are. There are `known` rows, of which those past `count` will be needed next. Pairs of 16-bit channels are packed as
/// floats `As`; then `finite` is right only where it says that a row is not.
template <class As, class T>
inline void pack_tile(vectors, T const* const* rows, int count, int known, int dim, float* tile,
                      std::int32_t* finite) {
  constexpr std::ptrdiff_t width = vectors::tile_vectors * lanes<floats>;
  constexpr int ahead = 12;  // rows
  for (int j = 0; j < width; j += 4) {
    As const* row[4];
    As const* upcoming[4];
    four poison[4];
    for (int r = 0; r < 4; ++r) {
      row[r] = reinterpret_cast<As const*>(rows[j + r < count ? j + r : 0]);
      upcoming[r] = j + r + ahead < known ? reinterpret_cast<As const*>(rows[j + r + ahead]) : row[r];
      poison[r] = four{};
    }
    int c = 0;
    for (; c + 4 <= dim; c += 4) {
      four x[4];
      __builtin_prefetch(upcoming[c / 4 % 4] + c / 16 * 16, 0, 2);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        load_to(x[r], row[r] + c);
        poison[r] = poison[r] + x[r] * four{};
      }
      transpose(x[0], x[1], x[2], x[3]);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) store(tile + (c + i) * width + j, x[i]);
    }
    for (; c < dim; ++c) {
      for (int r = 0; r < 4; ++r) {
        float const x = static_cast<float>(row[r][c]);
        poison[r][0] += x * 0.0F;
        tile[c * width + j + r] = x;
      }
    }
    for (int r = 0; r < 4; ++r) {
      bool const good = j + r < count && poison[r][0] + poison[r][1] + poison[r][2] + poison[r][3] == 0.0F;
      finite[j + r] = good ? -1 : 0;
      for (c = 0; !good && c < dim; ++c) tile[c * width + j + r] = 0.0F;
    }
  }
}

/// 2^x to 4 ulp, for x below 128; 0 where e^x is counted as 0, below -87.
TIGHTKV_INLINE floats two_to(floats x) {
  floats const shift = all<floats>(12582912.0F);  // adding 1.5 * 2^23 leaves round(x) in the low bits
  floats const shifted = x + shift;
  floats const r = x - (shifted - shift);
  floats p = all<floats>(1.3381302124e-3F);  // through 2^r at Chebyshev's points: 2.1e-7
  p = fma(p, r, all<floats>(9.6663683653e-3F));
  p = fma(p, r, all<floats>(5.5503811687e-2F));
  p = fma(p, r, all<floats>(2.4022349715e-1F));
  p = fma(p, r, all<floats>(6.9314718246e-1F));
  p = fma(p, r, all<floats>(1.0F));
  floats const y = as_floats(as_uints(p) + (as_uints(shifted) << 23));
  return where(less(x, all<floats>(-125.5F)), all<floats>(0.0F), y);
}

/// logits[r][j] = query r times key j of a tile, for a few queries at once: the innermost product. Meanwhile the tile
/// `next` is fetched.
template <int Rows>
TIGHTKV_INLINE void multiply_tile(float const* queries, float const* tile, float const* next, int dim, float* logits,
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
    for (int v = 0; v < vectors_wide; ++v) __builtin_prefetch(next + (c * vectors_wide + v) * lanes<floats>);
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

/// Whether so many numbers are finite.
inline bool all_are_finite(vectors, float const* x, int count) {
  floats poison = all<floats>(0.0F);
  int j = 0;
  for (; j + lanes<floats> <= count; j += lanes<floats>) poison = fma(load<floats>(x + j), all<floats>(0.0F), poison);
  if (j < count) poison = fma(load_first<floats>(x + j, count - j), all<floats>(0.0F), poison);
  return bits(is_nan(poison)) == 0;
}

/// Adds 16 products of each of some queries, `dim` floats apart, with each of four keys.
template <int Queries>
TIGHTKV_INLINE void add_products_of(floats const (&key)[4], floats const (&query)[Queries], floats (&sum)[Queries][4]) {
#pragma GCC unroll 4
  for (int q = 0; q < Queries; ++q) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) sum[q][r] = fma(key[r], query[q], sum[q][r]);
  }
}

/// logits[q][j] = query q times key j, for keys where they lie.
template <int Queries, class T>
TIGHTKV_INLINE void multiply_rows(T const* const* rows, int count, int dim, float const* queries, float* logits,
                                  std::ptrdiff_t stride) {
  int const whole = dim / lanes<floats> * lanes<floats>;
  for (int j = 0; j < count; j += 4) {
    int const found = count - j < 4 ? count - j : 4;
    T const* row[4];
    for (int r = 0; r < 4; ++r) row[r] = rows[j + (r < found ? r : 0)];
    floats sum[Queries][4];
#pragma GCC unroll 4
    for (int q = 0; q < Queries; ++q) {
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) sum[q][r] = all<floats>(0.0F);
    }
    floats key[4];
    floats query[Queries];
    for (int c = 0; c < whole; c += lanes<floats>) {
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) key[r] = load<floats>(row[r] + c);
#pragma GCC unroll 4
      for (int q = 0; q < Queries; ++q) query[q] = load<floats>(queries + q * dim + c);
      add_products_of(key, query, sum);
    }
    if (whole < dim) {
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) key[r] = load_first<floats>(row[r] + whole, dim - whole);
#pragma GCC unroll 4
      for (int q = 0; q < Queries; ++q) query[q] = load_first<floats>(queries + q * dim + whole, dim - whole);
      add_products_of(key, query, sum);
    }
#pragma GCC unroll 4
    for (int q = 0; q < Queries; ++q) {
      float of_four[4];
      store(of_four, totals(sum[q][0], sum[q][1], sum[q][2], sum[q][3]));
      for (int r = 0; r < found; ++r) logits[q * stride + j + r] = of_four[r];
    }
  }
}
/// The same for any number of queries.
template <class T>
inline void multiply_rows_with(vectors, T const* const* rows, int count, int dim, float const* queries, int query_count,
                               float* logits, std::ptrdiff_t stride) {
  constexpr int at_once = vectors::few_queries;
  int q = 0;
  for (; q + at_once <= query_count; q += at_once)
    multiply_rows<at_once>(rows, count, dim, queries + q * dim, logits + q * stride, stride);
  for (; q < query_count; ++q) multiply_rows<1>(rows, count, dim, queries + q * dim, logits + q * stride, stride);
}

/// `multiply_tile` for rows of `dim` floats.
struct float_products {
  int dim;

  TIGHTKV_INLINE void operator()(float const* queries, float const* tile, float const* next, float* logits,
                                 std::ptrdiff_t stride) const {
    multiply_tile<vectors::tile_queries>(queries, tile, next, dim, logits, stride);
  }
};

inline float_products float_products_of(vectors, int dim) { return {dim}; }

/// A block of queries (a multiple of `vectors::tile_queries`, side by side) against the tiles that they see: the first
/// query sees `visible` keys, each one more than the one before; there are `padded` in all.
template <class Products>
inline void multiply_tiles(vectors, Products const& multiply, float const* queries, int count, float const* tiles,
                           int visible, int padded, float* logits, std::ptrdiff_t stride) {
  constexpr int width = vectors::tile_vectors * lanes<floats>;
  constexpr int step = vectors::tile_queries;
  int const dim = multiply.dim;
  for (int begin = 0; begin < visible + count - 1 && begin < padded; begin += width) {
    float const* const tile = tiles + static_cast<std::ptrdiff_t>(begin) * dim;
    for (int q = 0; q < count; q += step) {
      if (begin >= visible + q + step - 1) continue;
      float const* const next = q + step < count || begin + width >= padded ? tile : tile + width * dim;
      multiply(queries + q * dim, tile, next, logits + q * stride + begin, stride);
    }
  }
}

/// The greatest of so many logits, a multiple of 16. Those that are NaN may be passed over.
inline float greatest_logit(vectors, float const* logits, int count) {
  floats most[2] = {all<floats>(-__builtin_inff()), all<floats>(-__builtin_inff())};
  int j = 0;
  for (; j + 2 * lanes<floats> <= count; j += 2 * lanes<floats>) {
    most[0] = max(load<floats>(logits + j), most[0]);
    most[1] = max(load<floats>(logits + j + lanes<floats>), most[1]);
  }
  if (j < count) most[0] = max(load<floats>(logits + j), most[0]);
  float lane[lanes<floats>];
  store(lane, max(most[0], most[1]));
  float greatest = lane[0];
  for (float const x : lane) greatest = x > greatest ? x : greatest;
  return greatest;
}

/// Logits that do not count, of keys or products that are not finite, become -inf. Returns the greatest of so many, a
/// multiple of 16.
inline float mask_logits(vectors set, float* logits, std::int32_t const* finite, int count) {
  floats const infinity = all<floats>(__builtin_inff());
  floats const masked = all<floats>(-__builtin_inff());
  for (int j = 0; j < count; j += lanes<floats>) {
    floats x = load<floats>(logits + j);
    x = where(both(less(x, infinity), greater(all<ints>(0), load<ints>(finite + j))), x, masked);
    store(logits + j, where(is_nan(x), masked, x));
  }
  return greatest_logit(set, logits, count);
}

/// x[j] = 2^(x[j] - most), and their sum.
inline double exponentials(vectors, float* x, int count, float most) {
  constexpr int in_a_float = 1024;  // sums longer than this go on in double
  double sum = 0.0;
  for (int begin = 0; begin < count; begin += in_a_float) {
    floats part = all<floats>(0.0F);
    for (int j = begin; j < count && j < begin + in_a_float; j += lanes<floats>) {
      floats const e = two_to(load<floats>(x + j) - all<floats>(most));
      store(x + j, e);
      part = part + e;
    }
    sum += static_cast<double>(total(part));
  }
  return sum;
}

/// sum[j] += the sum over some rows r, `stride` apart, of factor[r] * x[r][j].
template <int Rows>
inline void add_times(vectors, float const* factor, float const* x, std::ptrdiff_t stride, int count, float* sum) {
  for (int j = 0; j < count; j += lanes<floats>) {
    floats total_of_rows = load<floats>(sum + j);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
      total_of_rows = fma(all<floats>(factor[r]), load<floats>(x + r * stride + j), total_of_rows);
    store(sum + j, total_of_rows);
  }
}

/// sum[j] += the sum over some rows of 2^(x[r][j] - log_sum[r]), where that logit is below infinity.
template <int Rows>
inline void add_exponentials(vectors, float const* log_sum, float const* x, std::ptrdiff_t stride, int count,
                             float* sum) {
  for (int j = 0; j < count; j += lanes<floats>) {
    floats total_of_rows = load<floats>(sum + j);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      floats const logit = load<floats>(x + r * stride + j);
      floats const e = two_to(logit - all<floats>(log_sum[r]));
      total_of_rows = total_of_rows + where(less(logit, all<floats>(__builtin_inff())), e, all<floats>(0.0F));
    }
    store(sum + j, total_of_rows);
  }
}

/// total[j] += sum[j], and sum[j] = 0.
inline void move_into(vectors, float* sum, int count, double* into) {
  for (int j = 0; j < count; ++j) {
    into[j] += static_cast<double>(sum[j]);
    sum[j] = 0.0F;
  }
}
