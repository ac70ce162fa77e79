// SPDX-License-Identifier: Apache-2.0
// Vectors of four floats: where sums over rows end.

typedef float four __attribute__((vector_size(16)));
typedef std::int32_t four_ints __attribute__((vector_size(16)));

TIGHTKV_INLINE void store(float* p, four x) { _mm_storeu_ps(p, x); }
TIGHTKV_INLINE four sqrt(four x) { return _mm_sqrt_ps(x); }
// a0 + a2, a1 + a3, b0 + b2, b1 + b3
TIGHTKV_INLINE four add_halves(four a, four b) { return _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a)); }
// a0 + a1, a2 + a3, b0 + b1, b2 + b3
TIGHTKV_INLINE four add_neighbours(four a, four b) { return _mm_hadd_ps(a, b); }
