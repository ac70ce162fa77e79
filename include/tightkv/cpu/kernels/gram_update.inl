// SPDX-License-Identifier: Apache-2.0

/// Channels of a panel: a multiple of what any instruction set multiplies at once.
inline constexpr int panel_width = 48;
static_assert(panel_width % (vectors::tile_vectors * lanes<floats>) == 0 && panel_width % vectors::tile_rows == 0);

/// Lays rows of `width` channels out in panels of `panel_width`: channel c of row t is at panel c / panel_width, row t,
/// column c % panel_width. Rows are followed by zeros up to a whole vector. A row that holds a value which is not finite
/// becomes zeros; returns how many there were.
inline int pack_panels(vectors, float const* rows, int count, int width, std::ptrdiff_t row_stride, float* panels,
                       std::ptrdiff_t panel_stride) {
  int lost = 0;
  floats const zero = all<floats>(0.0F);
  for (int t = 0; t < count; ++t, rows += row_stride) {
    floats poison = zero;
    for (int c = 0; c < width; c += lanes<floats>) poison = fma(load<floats>(rows + c), zero, poison);
    bool const finite = bits(is_nan(poison)) == 0;
    lost += finite ? 0 : 1;
    for (int c = 0; c < width; c += lanes<floats>) {
      float* const to = panels + c / panel_width * panel_stride + t * panel_width + c % panel_width;
      store(to, finite ? load<floats>(rows + c) : zero);
    }
  }
  return lost;
}

/// sums[r][j] += the products of `Rows` channels from `a` on with a tile of channels from `b` on, over `count` rows of
/// their panels: in float over a few rows, in double from there on. Where `a` has ones alone, its step is 0.
template <int Rows>
TIGHTKV_INLINE void add_products_of(float const* a, int a_step, float const* b, int count, double* sums) {
  constexpr int wide = vectors::tile_vectors;
  constexpr int rows_in_float = 128;
  for (int begin = 0; begin < count; begin += rows_in_float) {
    int const rows = count - begin < rows_in_float ? count - begin : rows_in_float;
    floats part[Rows][wide];
    sum_products<Rows, wide>(a + begin * a_step, 1, a_step, b + begin * panel_width, panel_width, rows, part);
    float some[Rows * wide * lanes<floats>];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < wide; ++v) store(some + (r * wide + v) * lanes<floats>, part[r][v]);
    }
    for (int i = 0; i < Rows * wide * lanes<floats>; ++i) sums[i] += static_cast<double>(some[i]);
  }
}

/// Adds the products of all channels up to those of panel p with the channels of panel p.
inline void add_panel(vectors, float const* panels, std::ptrdiff_t panel_stride, int count, int p, int size,
                      double* products, std::ptrdiff_t products_stride) {
  constexpr int high = vectors::tile_rows;
  constexpr int wide = vectors::tile_vectors * lanes<floats>;
  int const end = size < (p + 1) * panel_width ? size : (p + 1) * panel_width;
  for (int a = 0; a < end; a += high) {
    float const* const rows = panels + a / panel_width * panel_stride + a % panel_width;
    for (int b = p * panel_width; b < end; b += wide) {
      if (b + wide <= a) continue;  // its mirror image is computed
      double sums[high * wide] = {};
      add_products_of<high>(rows, panel_width, panels + p * panel_stride + b % panel_width, count, sums);
      for (int r = 0; r < high && a + r < size; ++r) {
        double* const to = products + (a + r) * products_stride + b;
        for (int j = 0; j < wide && b + j < size; ++j) to[j] += sums[r * wide + j];
      }
    }
  }
}

/// Adds the sums of the channels of panel p: their products with a channel of ones.
inline void add_sums(vectors, float const* panels, std::ptrdiff_t panel_stride, int count, int p, int size,
                     double* linear) {
  constexpr int wide = vectors::tile_vectors * lanes<floats>;
  float const one = 1.0F;
  for (int b = p * panel_width; b < size && b < (p + 1) * panel_width; b += wide) {
    double sums[wide] = {};
    add_products_of<1>(&one, 0, panels + p * panel_stride + b % panel_width, count, sums);
    for (int j = 0; j < wide && b + j < size; ++j) linear[b + j] += sums[j];
  }
}
