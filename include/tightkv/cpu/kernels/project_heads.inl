// SPDX-License-Identifier: Apache-2.0

/// Rows of floats times a matrix of floats.
struct float_tiles {
  /// A tile of `out`: some rows times some columns of the matrix.
  template <int Rows, int Vectors>
  TIGHTKV_INLINE void operator()(float const* const* rows, int inputs, float const* matrix, std::ptrdiff_t stride,
                                 float* out, std::ptrdiff_t out_stride) const {
    float const* row[Rows];
    floats sum[Rows][Vectors];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      row[r] = rows[r];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] = all<floats>(0.0F);
    }
    for (int i = 0; i < inputs; ++i, matrix += stride) {
      floats factor[Vectors];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) factor[v] = load<floats>(matrix + v * lanes<floats>);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        floats const x = all<floats>(row[r][i]);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[r][v] = fma(x, factor[v], sum[r][v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) store(out + r * out_stride + v * lanes<floats>, sum[r][v]);
    }
  }
};

inline float_tiles float_tiles_of(vectors) { return {}; }

/// Columns from `c` on of some rows, `Vectors` vectors at a time, as long as so many are left. Returns the first that
/// is.
template <int Rows, int Vectors, class Tiles>
TIGHTKV_INLINE int project_columns(Tiles const& tile, float const* const* rows, int inputs, float const* matrix,
                                   std::ptrdiff_t stride, int c, int cols, float* out) {
  for (; c + Vectors * lanes<floats> <= cols; c += Vectors * lanes<floats>)
    tile.template operator()<Rows, Vectors>(rows, inputs, matrix + c, stride, out + c, cols);
  return c;
}

/// What fills no vector.
inline void project_rest(float const* const* rows, int count, int inputs, float const* matrix, std::ptrdiff_t stride,
                         int first, int cols, float* out) {
  for (int r = 0; r < count; ++r) {
    for (int c = first; c < cols; ++c) {
      float sum = 0.0F;
      for (int i = 0; i < inputs; ++i) sum = detail::fma(rows[r][i], matrix[i * stride + c], sum);
      out[r * cols + c] = sum;
    }
  }
}

/// out (count x cols) = rows (count x inputs) times the matrix (inputs x cols). Products other than of floats want whole
/// vectors of columns.
template <class Tiles>
inline void project_rows(vectors, Tiles const& tile, float const* const* rows, int count, int inputs,
                         float const* matrix, std::ptrdiff_t stride, int cols, float* out) {
  constexpr int high = vectors::tile_rows;
  constexpr int wide = vectors::tile_vectors;
  int const whole = cols / lanes<floats> * lanes<floats>;
  int t = 0;
  for (; t + high <= count; t += high) {
    float* const to = out + t * cols;
    int const c = project_columns<high, wide>(tile, rows + t, inputs, matrix, stride, 0, cols, to);
    if constexpr (wide > 1) project_columns<high, 1>(tile, rows + t, inputs, matrix, stride, c, cols, to);
  }
  for (; t < count; ++t) {
    float* const to = out + t * cols;
    int const c = project_columns<1, 4>(tile, rows + t, inputs, matrix, stride, 0, cols, to);
    project_columns<1, 1>(tile, rows + t, inputs, matrix, stride, c, cols, to);
  }
  if (whole < cols) project_rest(rows, count, inputs, matrix, stride, whole, cols, out);
}

template <class T>
inline void round_row(vectors, float const* from, int count, T* to) {
  for (int c = 0; c < count; ++c) to[c] = T(from[c]);
}
