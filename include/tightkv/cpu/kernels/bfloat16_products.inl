// SPDX-License-Identifier: Apache-2.0

/// `float_products` for rows of `dim` pairs of bfloat16, each in the place of a float. The machine multiplies and adds
/// them in float; the sums are then multiplied with `scale`.
struct bfloat16_products {
  int dim;
  float scale;

  template <int Vectors>
  void multiply(float const* keys, float const* panel, upcoming next, float* logits, seen_logits& seen) const {
    constexpr int rows = vectors::panel_keys;
    floats sum[rows][Vectors];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] = all<floats>(0.0F);
    }
    std::ptrdiff_t const fetched = (rows * Vectors * lanes<floats> + dim - 1) / dim;
    for (int c = 0; c < dim; ++c) {
      floats query[Vectors];
      __builtin_prefetch(next.keys + c * rows, 0, 2);
      __builtin_prefetch(next.logits + c * fetched, 0, 2);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) query[v] = load<floats>(panel + (c * Vectors + v) * lanes<floats>);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        auto const key = (__m512bh)all<floats>(pair_at(keys + r * dim + c));
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], key, (__m512bh)query[v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] = sum[r][v] * all<floats>(scale);
    }
    seen.take(sum, logits);
  }

 private:
  /// Two bfloat16, wherever they lie.
  static float pair_at(float const* at) {
    float pair;
    std::memcpy(&pair, at, sizeof pair);
    return pair;
  }
};
