// SPDX-License-Identifier: Apache-2.0

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
TIGHTKV_INLINE void add_products_of(floats const (&key)[4], floats const (&query)[Queries], floats (&sum)[4 * Queries]) {
#pragma GCC unroll 4
  for (int q = 0; q < Queries; ++q) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) sum[4 * q + r] = fma(key[r], query[q], sum[4 * q + r]);
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
    floats sum[4 * Queries];
#pragma GCC unroll 16
    for (int i = 0; i < 4 * Queries; ++i) sum[i] = all<floats>(0.0F);
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
    float of_four[4 * Queries];
    store_totals(sum, of_four);
    for (int q = 0; q < Queries; ++q) {
      if (found == 4) {
        std::memcpy(logits + q * stride + j, of_four + 4 * q, sizeof(four));
      } else {
        for (int r = 0; r < found; ++r) logits[q * stride + j + r] = of_four[4 * q + r];
      }
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
