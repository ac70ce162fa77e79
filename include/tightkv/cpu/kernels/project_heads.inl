// SPDX-License-Identifier: Apache-2.0

/// Columns from `c` on of as many rows as fit into registers times a matrix, `Vectors` vectors at a time, as long as so
/// many are left. Returns the first column that is.
template <int Rows, int Vectors>
TIGHTKV_INLINE int project_columns(float const* rows, int inputs, float const* matrix, std::ptrdiff_t matrix_stride,
                                   int c, int cols, float* out) {
  for (; c + Vectors * lanes<floats> <= cols; c += Vectors * lanes<floats>) {
    floats sum[Rows][Vectors];
    sum_products<Rows, Vectors>(rows, inputs, 1, matrix + c, matrix_stride, inputs, sum);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) store(out + r * cols + c + v * lanes<floats>, sum[r][v]);
    }
  }
  return c;
}

/// What fills no vector.
inline void project_rest(float const* rows, int count, int inputs, float const* matrix, std::ptrdiff_t matrix_stride,
                         int first, int cols, float* out) {
  for (int r = 0; r < count; ++r) {
    for (int c = first; c < cols; ++c) {
      float sum = 0.0F;
      for (int i = 0; i < inputs; ++i) sum = detail::fma(rows[r * inputs + i], matrix[i * matrix_stride + c], sum);
      out[r * cols + c] = sum;
    }
  }
}

/// out (count x cols) = rows (count x inputs) times the matrix (inputs x cols).
inline void project_rows(vectors, float const* rows, int count, int inputs, float const* matrix,
                         std::ptrdiff_t matrix_stride, int cols, float* out) {
  constexpr int high = vectors::tile_queries;
  constexpr int wide = vectors::tile_vectors;
  int const whole = cols / lanes<floats> * lanes<floats>;
  int t = 0;
  for (; t + high <= count; t += high) {
    float const* const from = rows + t * inputs;
    int const c = project_columns<high, wide>(from, inputs, matrix, matrix_stride, 0, cols, out + t * cols);
    if constexpr (wide > 1) project_columns<high, 1>(from, inputs, matrix, matrix_stride, c, cols, out + t * cols);
  }
  for (; t < count; ++t) {
    float const* const from = rows + t * inputs;
    int const c = project_columns<1, 4>(from, inputs, matrix, matrix_stride, 0, cols, out + t * cols);
    project_columns<1, 1>(from, inputs, matrix, matrix_stride, c, cols, out + t * cols);
  }
  if (whole < cols) project_rest(rows, count, inputs, matrix, matrix_stride, whole, cols, out);
}
