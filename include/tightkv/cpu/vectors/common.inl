// SPDX-License-Identifier: Apache-2.0
// What follows from the operations of any instruction set.

template <class V, class T>
TIGHTKV_INLINE V load(T const* p) {
  V x;
  load_to(x, p);
  return x;
}
/// The first `count` values, then zeros.
template <class V, class T>
TIGHTKV_INLINE V load_first(T const* p, int count) {
  T some[lanes<V>] = {};
  std::memcpy(some, p, static_cast<std::size_t>(count) * sizeof(T));
  return load<V>(static_cast<T const*>(some));
}
template <class T, class V>
TIGHTKV_INLINE void store_first(T* p, V x, int count) {
  T some[lanes<V>];
  store(some, x);
  std::memcpy(p, some, static_cast<std::size_t>(count) * sizeof(T));
}

template <class V, class T>
TIGHTKV_INLINE V all(T x) {
  V v;
  fill(v, x);
  return v;
}

template <class To, class From>
TIGHTKV_INLINE To same_bits(From const& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
TIGHTKV_INLINE floats as_floats(ints x) { return same_bits<floats>(x); }
TIGHTKV_INLINE floats as_floats(uints x) { return same_bits<floats>(x); }
TIGHTKV_INLINE ints as_ints(floats x) { return same_bits<ints>(x); }
TIGHTKV_INLINE uints as_uints(floats x) { return same_bits<uints>(x); }

/// The sums of four vectors, each folded by halves.
TIGHTKV_INLINE four totals(floats a, floats b, floats c, floats d) {
  return add_neighbours(add_halves(folded(a), folded(b)), add_halves(folded(c), folded(d)));
}
TIGHTKV_INLINE float total(floats x) { return totals(x, x, x, x)[0]; }
/// to[i] = the sum of x[i], folded by halves.
template <int Count>
TIGHTKV_INLINE void store_totals(floats const (&x)[Count], float* to) {
#pragma GCC unroll 4
  for (int i = 0; i < Count; i += 4) store(to + i, totals(x[i], x[i + 1], x[i + 2], x[i + 3]));
}

/// `detail::exp`, lane by lane.
TIGHTKV_INLINE floats exp(floats x) {
  floats const one = all<floats>(1.0F);
  floats const shift = all<floats>(12582912.0F);
  floats const shifted = fma(x, all<floats>(1.44269504F), shift);
  floats const n = shifted - shift;
  floats const r = fma(n, all<floats>(2.12194440e-4F), fma(n, all<floats>(-0.693359375F), x));
  floats p = all<floats>(1.9875691500e-4F);
  p = fma(p, r, all<floats>(1.3981999507e-3F));
  p = fma(p, r, all<floats>(8.3334519073e-3F));
  p = fma(p, r, all<floats>(4.1665795894e-2F));
  p = fma(p, r, all<floats>(1.6666665459e-1F));
  p = fma(p, r, all<floats>(5.0000001201e-1F));
  p = fma(p, fma(r, r, all<floats>(0.0F)), r) + one;
  uints const exponent = (as_uints(shifted) - all<uints>(0x4b400000U)) << 23;
  return where(less(x, all<floats>(-87.0F)), all<floats>(0.0F), as_floats(as_uints(p) + exponent));
}
