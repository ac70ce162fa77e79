// SPDX-License-Identifier: Apache-2.0
// One register of 512 bits holds a whole vector.
#include <tightkv/cpu/vectors/pair.inl>
#include <tightkv/cpu/vectors/x86_64.inl>

struct vectors {
  static constexpr int ranges_at_once = 8;  // minima, and as many maxima, that registers have room for
  static constexpr int rows_at_once = 8;    // whose sums registers have room for
  static constexpr bool one_line_for_another = false;
  static constexpr int tile_rows = 8;  // of products
  static constexpr int few_queries = 4;  // against four keys
  static constexpr int tile_vectors = 3;
  static constexpr int panel_keys = 6;  // multiplied with a panel of queries at once
  static constexpr int panel_vectors = 4;
};

typedef float native_floats __attribute__((vector_size(64)));
typedef std::int32_t native_ints __attribute__((vector_size(64)));
typedef std::uint32_t native_uints __attribute__((vector_size(64)));
typedef std::int16_t native_shorts __attribute__((vector_size(64)));

using floats = native_floats;
using ints = native_ints;
using uints = native_uints;
using shorts = native_shorts;

// Intrinsics are asked to mask nothing out where GCC 12 would otherwise take their result to be uninitialised.
inline constexpr __mmask16 every = 0xffff;

TIGHTKV_INLINE void load_to(native_floats& x, float const* p) { x = _mm512_loadu_ps(p); }
TIGHTKV_INLINE void load_to(native_floats& x, half const* p) {
  x = _mm512_maskz_cvtph_ps(every, _mm256_loadu_si256((__m256i const*)p));
}
TIGHTKV_INLINE void load_to(native_floats& x, bfloat16 const* p) {
  __m512i const wide = _mm512_maskz_cvtepu16_epi32(every, _mm256_loadu_si256((__m256i const*)p));
  x = _mm512_castsi512_ps(_mm512_maskz_slli_epi32(every, wide, 16));
}
TIGHTKV_INLINE void load_to(native_ints& x, std::int32_t const* p) { x = (native_ints)_mm512_loadu_si512(p); }
TIGHTKV_INLINE void load_to(native_shorts& x, std::int16_t const* p) { x = (native_shorts)_mm512_loadu_si512(p); }
TIGHTKV_INLINE void store(float* p, native_floats x) { _mm512_storeu_ps(p, x); }
TIGHTKV_INLINE void store(std::int32_t* p, native_ints x) { _mm512_storeu_si512(p, (__m512i)x); }
TIGHTKV_INLINE void store(std::int16_t* p, native_shorts x) { _mm512_storeu_si512(p, (__m512i)x); }
/// Past the caches, to a whole line.
TIGHTKV_INLINE void stream(std::int32_t* p, native_ints x) { _mm512_stream_si512((__m512i*)p, (__m512i)x); }

/// Loaded once and kept: compilers would rather load again for each use.
TIGHTKV_INLINE void hold(native_floats& x) { __asm__("" : "+v"(x)); }
TIGHTKV_INLINE void hold(native_shorts& x) { __asm__("" : "+v"(x)); }

TIGHTKV_INLINE native_floats fma(native_floats a, native_floats b, native_floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
TIGHTKV_INLINE native_floats sqrt(native_floats x) { return _mm512_maskz_sqrt_ps(every, x); }
TIGHTKV_INLINE native_floats min(native_floats a, native_floats b) { return _mm512_maskz_min_ps(every, a, b); }
TIGHTKV_INLINE native_floats max(native_floats a, native_floats b) { return _mm512_maskz_max_ps(every, a, b); }
TIGHTKV_INLINE native_ints max(native_ints a, native_ints b) {
  return (native_ints)_mm512_maskz_max_epi32(every, (__m512i)a, (__m512i)b);
}
TIGHTKV_INLINE native_uints min(native_uints a, native_uints b) {
  return (native_uints)_mm512_maskz_min_epu32(every, (__m512i)a, (__m512i)b);
}
TIGHTKV_INLINE native_shorts min(native_shorts a, native_shorts b) {
  return (native_shorts)_mm512_min_epi16((__m512i)a, (__m512i)b);
}
TIGHTKV_INLINE native_shorts max(native_shorts a, native_shorts b) {
  return (native_shorts)_mm512_max_epi16((__m512i)a, (__m512i)b);
}
TIGHTKV_INLINE native_shorts max_unsigned(native_shorts a, native_shorts b) {
  return (native_shorts)_mm512_max_epu16((__m512i)a, (__m512i)b);
}

TIGHTKV_INLINE __mmask16 less(native_floats a, native_floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
TIGHTKV_INLINE __mmask16 greater(native_ints a, native_ints b) {
  return _mm512_cmpgt_epi32_mask((__m512i)a, (__m512i)b);
}
TIGHTKV_INLINE __mmask16 equal(native_ints a, native_ints b) {
  return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b);
}
TIGHTKV_INLINE __mmask16 is_nan(native_floats x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q); }
TIGHTKV_INLINE __mmask16 both(__mmask16 a, __mmask16 b) { return (__mmask16)(a & b); }
TIGHTKV_INLINE unsigned bits(__mmask16 m) { return m; }
TIGHTKV_INLINE native_floats where(__mmask16 m, native_floats yes, native_floats no) {
  return _mm512_mask_blend_ps(m, no, yes);
}
TIGHTKV_INLINE native_ints where(__mmask16 m, native_ints yes, native_ints no) {
  return (native_ints)_mm512_mask_blend_epi32(m, (__m512i)no, (__m512i)yes);
}

TIGHTKV_INLINE four folded(native_floats x) {
  __m256 const eight = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, x, 0), _mm512_maskz_extractf32x8_ps(0xff, x, 1));
  return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

/// Two quarters of `a`, then of `b`.
template <int Which>
TIGHTKV_INLINE floats quarters_of(floats a, floats b) {
  return _mm512_maskz_shuffle_f32x4(every, a, b, Which);
}
/// Sixteen at once need fewer instructions than four times four. Each step adds the halves of what is left of a sum.
TIGHTKV_INLINE void store_totals(floats const (&x)[16], float* to) {
  constexpr int first_half = 0x44, last_half = 0xee, even = 0x88, odd = 0xdd;
  floats fours[4];  // fours[i]: four lanes each of x[i], x[4 + i], x[8 + i], x[12 + i]
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    floats const a = quarters_of<first_half>(x[i], x[4 + i]) + quarters_of<last_half>(x[i], x[4 + i]);
    floats const b = quarters_of<first_half>(x[8 + i], x[12 + i]) + quarters_of<last_half>(x[8 + i], x[12 + i]);
    fours[i] = quarters_of<even>(a, b) + quarters_of<odd>(a, b);
  }
  floats pairs[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    auto const a = (__m512d)fours[2 * i], b = (__m512d)fours[2 * i + 1];
    pairs[i] = (floats)_mm512_maskz_unpacklo_pd(0xff, a, b) + (floats)_mm512_maskz_unpackhi_pd(0xff, a, b);
  }
  store(to, _mm512_maskz_shuffle_ps(every, pairs[0], pairs[1], even) +
                _mm512_maskz_shuffle_ps(every, pairs[0], pairs[1], odd));
}

// Compressing to a register and storing under a mask: compressing straight to memory is slow on Zen 4.
TIGHTKV_INLINE int store_some(std::int32_t* p, native_ints x, unsigned which) {
  int const count = __builtin_popcount(which);
  __m512i const packed = _mm512_maskz_compress_epi32((__mmask16)which, (__m512i)x);
  _mm512_mask_storeu_epi32(p, (__mmask16)((1U << count) - 1U), packed);
  return count;
}

#include <tightkv/cpu/vectors/common.inl>
