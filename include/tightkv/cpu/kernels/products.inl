// SPDX-License-Identifier: Apache-2.0

/// sum[r][v] = the sum over k < count of a[r * a_row + k * a_step] times vector v of b + k * b_step.
template <int Rows, int Vectors>
TIGHTKV_INLINE void sum_products(float const* a, std::ptrdiff_t a_row, std::ptrdiff_t a_step, float const* b,
                                 std::ptrdiff_t b_step, int count, floats (&sum)[Rows][Vectors]) {
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[r][v] = all<floats>(0.0F);
  }
  for (int k = 0; k < count; ++k) {
    floats factor[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) factor[v] = load<floats>(b + k * b_step + v * lanes<floats>);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      floats const x = all<floats>(a[r * a_row + k * a_step]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] = fma(x, factor[v], sum[r][v]);
    }
  }
}

/// Rows as floats, one after the other `stride` apart.
template <class T>
inline void unpack_rows(vectors, T const* const* rows, int count, int dim, float* to, std::ptrdiff_t stride) {
  int const whole = dim / lanes<floats> * lanes<floats>;
  for (int t = 0; t < count; ++t, to += stride) {
    for (int c = 0; c < whole; c += lanes<floats>) store(to + c, load<floats>(rows[t] + c));
    if (whole < dim) store_first(to + whole, load_first<floats>(rows[t] + whole, dim - whole), dim - whole);
  }
}
