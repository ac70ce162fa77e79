// SPDX-License-Identifier: Apache-2.0
// Four registers of 128 bits hold a vector.
#include <tightkv/cpu/vectors/pair.inl>

struct vectors {
  static constexpr int ranges_at_once = 2;
  static constexpr int rows_at_once = 2;    // whose sums registers have room for
  static constexpr bool one_line_for_another = false;
  static constexpr int tile_rows = 6;  // of products
  static constexpr int few_queries = 1;  // against four keys
  static constexpr int tile_vectors = 1;
  static constexpr int panel_keys = 6;  // multiplied with a panel of queries at once
  static constexpr int panel_vectors = 1;
};

typedef float native_floats __attribute__((vector_size(16)));
typedef std::int32_t native_ints __attribute__((vector_size(16)));
typedef std::uint32_t native_uints __attribute__((vector_size(16)));
typedef std::int16_t native_shorts __attribute__((vector_size(16)));

using four = native_floats;
using four_ints = native_ints;
using floats = pair<pair<native_floats>>;
using ints = pair<pair<native_ints>>;
using uints = pair<pair<native_uints>>;
using shorts = pair<pair<native_shorts>>;

TIGHTKV_INLINE void load_to(native_floats& x, float const* p) { x = (native_floats)vld1q_f32(p); }
TIGHTKV_INLINE void load_to(native_floats& x, half const* p) {
  x = (native_floats)vcvt_f32_f16((float16x4_t)vld1_u16((std::uint16_t const*)p));
}
TIGHTKV_INLINE void load_to(native_floats& x, bfloat16 const* p) {
  x = (native_floats)vshll_n_u16(vld1_u16((std::uint16_t const*)p), 16);
}
TIGHTKV_INLINE void load_to(native_ints& x, std::int32_t const* p) { x = (native_ints)vld1q_s32(p); }
TIGHTKV_INLINE void load_to(native_shorts& x, std::int16_t const* p) { x = (native_shorts)vld1q_s16(p); }
TIGHTKV_INLINE void store(float* p, native_floats x) { vst1q_f32(p, (float32x4_t)x); }
TIGHTKV_INLINE void store(std::int32_t* p, native_ints x) { vst1q_s32(p, (int32x4_t)x); }
TIGHTKV_INLINE void store(std::int16_t* p, native_shorts x) { vst1q_s16(p, (int16x8_t)x); }
/// A store like any other: no intrinsic asks for more.
TIGHTKV_INLINE void stream(std::int32_t* p, native_ints x) { store(p, x); }
TIGHTKV_INLINE void order_streams() {}

/// Loaded once and kept: compilers would rather load again for each use.
TIGHTKV_INLINE void hold(native_floats& x) { __asm__("" : "+w"(x)); }
TIGHTKV_INLINE void hold(native_shorts& x) { __asm__("" : "+w"(x)); }

TIGHTKV_INLINE native_floats fma(native_floats a, native_floats b, native_floats c) {
  return (native_floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
TIGHTKV_INLINE native_floats sqrt(native_floats x) { return (native_floats)vsqrtq_f32((float32x4_t)x); }
TIGHTKV_INLINE native_floats min(native_floats a, native_floats b) {
  return (native_floats)vminq_f32((float32x4_t)a, (float32x4_t)b);
}
TIGHTKV_INLINE native_floats max(native_floats a, native_floats b) {
  return (native_floats)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
}
TIGHTKV_INLINE native_ints max(native_ints a, native_ints b) {
  return (native_ints)vmaxq_s32((int32x4_t)a, (int32x4_t)b);
}
TIGHTKV_INLINE native_uints min(native_uints a, native_uints b) {
  return (native_uints)vminq_u32((uint32x4_t)a, (uint32x4_t)b);
}
TIGHTKV_INLINE native_shorts min(native_shorts a, native_shorts b) {
  return (native_shorts)vminq_s16((int16x8_t)a, (int16x8_t)b);
}
TIGHTKV_INLINE native_shorts max(native_shorts a, native_shorts b) {
  return (native_shorts)vmaxq_s16((int16x8_t)a, (int16x8_t)b);
}
TIGHTKV_INLINE native_shorts max_unsigned(native_shorts a, native_shorts b) {
  return (native_shorts)vmaxq_u16((uint16x8_t)a, (uint16x8_t)b);
}

TIGHTKV_INLINE native_ints less(native_floats a, native_floats b) { return a < b; }
TIGHTKV_INLINE native_ints greater(native_ints a, native_ints b) { return a > b; }
TIGHTKV_INLINE native_ints equal(native_ints a, native_ints b) { return a == b; }
TIGHTKV_INLINE native_ints is_nan(native_floats x) { return x != x; }
TIGHTKV_INLINE native_ints both(native_ints a, native_ints b) { return a & b; }
TIGHTKV_INLINE unsigned bits(native_ints m) {
  native_ints const powers = {1, 2, 4, 8};
  return (unsigned)vaddvq_s32((int32x4_t)(m & powers));
}
TIGHTKV_INLINE native_floats where(native_ints m, native_floats yes, native_floats no) {
  return (native_floats)(((native_ints)yes & m) | ((native_ints)no & ~m));
}
TIGHTKV_INLINE native_ints where(native_ints m, native_ints yes, native_ints no) { return (yes & m) | (no & ~m); }

TIGHTKV_INLINE four folded(native_floats x) { return x; }
// a0 + a2, a1 + a3, b0 + b2, b1 + b3
TIGHTKV_INLINE four add_halves(four a, four b) {
  float32x4_t const low = vcombine_f32(vget_low_f32((float32x4_t)a), vget_low_f32((float32x4_t)b));
  float32x4_t const high = vcombine_f32(vget_high_f32((float32x4_t)a), vget_high_f32((float32x4_t)b));
  return (four)vaddq_f32(low, high);
}
// a0 + a1, a2 + a3, b0 + b1, b2 + b3
TIGHTKV_INLINE four add_neighbours(four a, four b) { return (four)vpaddq_f32((float32x4_t)a, (float32x4_t)b); }
// Rows become columns.
TIGHTKV_INLINE void transpose(four& a, four& b, four& c, four& d) {
  float32x4_t const ab_low = vzip1q_f32((float32x4_t)a, (float32x4_t)b);
  float32x4_t const ab_high = vzip2q_f32((float32x4_t)a, (float32x4_t)b);
  float32x4_t const cd_low = vzip1q_f32((float32x4_t)c, (float32x4_t)d);
  float32x4_t const cd_high = vzip2q_f32((float32x4_t)c, (float32x4_t)d);
  a = (four)vcombine_f32(vget_low_f32(ab_low), vget_low_f32(cd_low));
  b = (four)vcombine_f32(vget_high_f32(ab_low), vget_high_f32(cd_low));
  c = (four)vcombine_f32(vget_low_f32(ab_high), vget_low_f32(cd_high));
  d = (four)vcombine_f32(vget_high_f32(ab_high), vget_high_f32(cd_high));
}

#include <tightkv/cpu/vectors/pair_operations.inl>

#include <tightkv/cpu/vectors/common.inl>
