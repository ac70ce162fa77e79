// SPDX-License-Identifier: Apache-2.0

/// Rows of pairs of bfloat16, each in the place of a float, times a matrix of such pairs.
struct pair_tiles {
  template <int Rows, int Vectors>
  void operator()(float const* const* rows, int inputs, float const* matrix, std::ptrdiff_t stride, float* out,
                  std::ptrdiff_t out_stride) const {
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
        std::int32_t pair_of_row;  // which may begin at any bfloat16
        std::memcpy(&pair_of_row, reinterpret_cast<char const*>(row[r]) + std::ptrdiff_t{i} * 4, sizeof pair_of_row);
        auto const x = (__m512bh)_mm512_set1_epi32(pair_of_row);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], x, (__m512bh)factor[v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) store(out + r * out_stride + v * lanes<floats>, sum[r][v]);
    }
  }
};

/// Writes the rows of a matrix in pairs, with zeros behind their last column, `padded` apart. Returns false at the first
/// number that is no bfloat16.
inline bool pack_pairs(vectors, float const* matrix, std::ptrdiff_t stride, int inputs, int cols, float* to,
                       std::ptrdiff_t padded) {
  __m512i const low_half = _mm512_set1_epi32(0xffff);
  for (int i = 0; i < inputs; i += 2, matrix += 2 * stride, to += padded) {
    for (int c = 0; c < cols; c += lanes<floats>) {
      auto const present = (__mmask16)(cols - c < lanes<floats> ? (1U << (cols - c)) - 1U : 0xffffU);
      __m512i const first = _mm512_maskz_loadu_epi32(present, matrix + c);
      __m512i const second = _mm512_maskz_loadu_epi32(present, matrix + stride + c);
      if (_mm512_test_epi32_mask(_mm512_or_si512(first, second), low_half) != 0) return false;
      _mm512_storeu_si512(to + c, _mm512_or_si512(_mm512_maskz_srli_epi32(every, first, 16), second));
    }
  }
  return true;
}
