// SPDX-License-Identifier: Apache-2.0

/// `multiply_tile` for rows of `dim` pairs of bfloat16, each in the place of a float. The machine multiplies and adds
/// them in float; the sums are then multiplied with `scale`.
struct bfloat16_products {
  int dim;
  float scale;

  void operator()(float const* queries, float const* tile, float const* next, float* logits,
                  std::ptrdiff_t stride) const {
    constexpr int rows = vectors::tile_queries;
    constexpr int vectors_wide = vectors::tile_vectors;
    floats sum[rows][vectors_wide];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
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
      for (int r = 0; r < rows; ++r) {
        auto const query = (__m512bh)all<floats>(queries[r * dim + c]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors_wide; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], query, (__m512bh)key[v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors_wide; ++v)
        store(logits + r * stride + v * lanes<floats>, sum[r][v] * all<floats>(scale));
    }
  }
};
