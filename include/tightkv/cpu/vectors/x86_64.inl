// SPDX-License-Identifier: Apache-2.0
// Vectors of four floats: where sums over rows end.

typedef float four __attribute__((vector_size(16)));
typedef std::int32_t four_ints __attribute__((vector_size(16)));

TIGHTKV_INLINE void load_to(four& x, float const* p) { x = _mm_loadu_ps(p); }
TIGHTKV_INLINE void load_to(four& x, half const* p) { x = _mm_cvtph_ps(_mm_loadl_epi64((__m128i const*)p)); }
TIGHTKV_INLINE void load_to(four& x, bfloat16 const* p) {
  x = _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64((__m128i const*)p)), 16));
}
TIGHTKV_INLINE void store(float* p, four x) { _mm_storeu_ps(p, x); }
TIGHTKV_INLINE four sqrt(four x) { return _mm_sqrt_ps(x); }
// a0 + a2, a1 + a3, b0 + b2, b1 + b3
TIGHTKV_INLINE four add_halves(four a, four b) { return _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a)); }
// a0 + a1, a2 + a3, b0 + b1, b2 + b3
TIGHTKV_INLINE four add_neighbours(four a, four b) { return _mm_hadd_ps(a, b); }
// Rows become columns.
TIGHTKV_INLINE void transpose(four& a, four& b, four& c, four& d) {
  four const ab_low = _mm_unpacklo_ps(a, b);
  four const ab_high = _mm_unpackhi_ps(a, b);
  four const cd_low = _mm_unpacklo_ps(c, d);
  four const cd_high = _mm_unpackhi_ps(c, d);
  a = _mm_movelh_ps(ab_low, cd_low);
  b = _mm_movehl_ps(cd_low, ab_low);
  c = _mm_movelh_ps(ab_high, cd_high);
  d = _mm_movehl_ps(cd_high, ab_high);
}
/// Streams wait for no store of their own accord.
TIGHTKV_INLINE void order_streams() { _mm_sfence(); }
