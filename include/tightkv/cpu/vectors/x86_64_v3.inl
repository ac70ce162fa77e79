// SPDX-License-Identifier: Apache-2.0
// Two registers of 256 bits hold a vector.
#include <tightkv/cpu/vectors/pair.inl>
#include <tightkv/cpu/vectors/x86_64.inl>

struct vectors {
  static constexpr int ranges_at_once = 2;
  static constexpr int rows_at_once = 2;    // whose sums registers have room for
  static constexpr bool one_line_for_another = true;  // a copy is faster if it asks for a line when another came
  static constexpr int tile_rows = 6;  // of products
  static constexpr int few_queries = 1;  // against four keys
  static constexpr int tile_vectors = 1;
  static constexpr int panel_keys = 6;  // multiplied with a panel of queries at once
  static constexpr int panel_vectors = 1;
};

typedef float native_floats __attribute__((vector_size(32)));
typedef std::int32_t native_ints __attribute__((vector_size(32)));
typedef std::uint32_t native_uints __attribute__((vector_size(32)));
typedef std::int16_t native_shorts __attribute__((vector_size(32)));

using floats = pair<native_floats>;
using ints = pair<native_ints>;
using uints = pair<native_uints>;
using shorts = pair<native_shorts>;

TIGHTKV_INLINE void load_to(native_floats& x, float const* p) { x = _mm256_loadu_ps(p); }
TIGHTKV_INLINE void load_to(native_floats& x, half const* p) {
  x = _mm256_cvtph_ps(_mm_loadu_si128((__m128i const*)p));
}
TIGHTKV_INLINE void load_to(native_floats& x, bfloat16 const* p) {
  __m256i const wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((__m128i const*)p));
  x = _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
TIGHTKV_INLINE void load_to(native_ints& x, std::int32_t const* p) {
  x = (native_ints)_mm256_loadu_si256((__m256i const*)p);
}
TIGHTKV_INLINE void load_to(native_shorts& x, std::int16_t const* p) {
  x = (native_shorts)_mm256_loadu_si256((__m256i const*)p);
}
TIGHTKV_INLINE void store(float* p, native_floats x) { _mm256_storeu_ps(p, x); }
TIGHTKV_INLINE void store(std::int32_t* p, native_ints x) { _mm256_storeu_si256((__m256i*)p, (__m256i)x); }
TIGHTKV_INLINE void store(std::int16_t* p, native_shorts x) { _mm256_storeu_si256((__m256i*)p, (__m256i)x); }
/// Past the caches, to half a line.
TIGHTKV_INLINE void stream(std::int32_t* p, native_ints x) { _mm256_stream_si256((__m256i*)p, (__m256i)x); }

/// Loaded once and kept: compilers would rather load again for each use.
TIGHTKV_INLINE void hold(native_floats& x) { __asm__("" : "+x"(x)); }
TIGHTKV_INLINE void hold(native_shorts& x) { __asm__("" : "+x"(x)); }

TIGHTKV_INLINE native_floats fma(native_floats a, native_floats b, native_floats c) {
  return _mm256_fmadd_ps(a, b, c);
}
TIGHTKV_INLINE native_floats sqrt(native_floats x) { return _mm256_sqrt_ps(x); }
TIGHTKV_INLINE native_floats min(native_floats a, native_floats b) { return _mm256_min_ps(a, b); }
TIGHTKV_INLINE native_floats max(native_floats a, native_floats b) { return _mm256_max_ps(a, b); }
TIGHTKV_INLINE native_ints max(native_ints a, native_ints b) {
  return (native_ints)_mm256_max_epi32((__m256i)a, (__m256i)b);
}
TIGHTKV_INLINE native_uints min(native_uints a, native_uints b) {
  return (native_uints)_mm256_min_epu32((__m256i)a, (__m256i)b);
}
TIGHTKV_INLINE native_shorts min(native_shorts a, native_shorts b) {
  return (native_shorts)_mm256_min_epi16((__m256i)a, (__m256i)b);
}
TIGHTKV_INLINE native_shorts max(native_shorts a, native_shorts b) {
  return (native_shorts)_mm256_max_epi16((__m256i)a, (__m256i)b);
}
TIGHTKV_INLINE native_shorts max_unsigned(native_shorts a, native_shorts b) {
  return (native_shorts)_mm256_max_epu16((__m256i)a, (__m256i)b);
}

TIGHTKV_INLINE native_ints less(native_floats a, native_floats b) { return a < b; }
TIGHTKV_INLINE native_ints greater(native_ints a, native_ints b) { return a > b; }
TIGHTKV_INLINE native_ints equal(native_ints a, native_ints b) { return a == b; }
TIGHTKV_INLINE native_ints is_nan(native_floats x) { return x != x; }
TIGHTKV_INLINE native_ints both(native_ints a, native_ints b) { return a & b; }
TIGHTKV_INLINE unsigned bits(native_ints m) { return (unsigned)_mm256_movemask_ps((__m256)m); }
TIGHTKV_INLINE native_floats where(native_ints m, native_floats yes, native_floats no) {
  return _mm256_blendv_ps(no, yes, (__m256)m);
}
TIGHTKV_INLINE native_ints where(native_ints m, native_ints yes, native_ints no) { return (yes & m) | (no & ~m); }

TIGHTKV_INLINE four folded(native_floats x) {
  return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
}

#include <tightkv/cpu/vectors/pair_operations.inl>

#include <tightkv/cpu/vectors/common.inl>
