// SPDX-License-Identifier: Apache-2.0
// What is done to a pair is done to its halves.

template <class V, class T>
TIGHTKV_INLINE void load_to(pair<V>& x, T const* p) {
  load_to(x.lo, p);
  load_to(x.hi, p + lanes<V>);
}
template <class V, class T>
TIGHTKV_INLINE void store(T* p, pair<V> x) {
  store(p, x.lo);
  store(p + lanes<V>, x.hi);
}
template <class V, class T>
TIGHTKV_INLINE void stream(T* p, pair<V> x) {
  stream(p, x.lo);
  stream(p + lanes<V>, x.hi);
}

template <class V>
TIGHTKV_INLINE void hold(pair<V>& x) {
  hold(x.lo);
  hold(x.hi);
}
template <class V>
TIGHTKV_INLINE pair<V> operator+(pair<V> a, pair<V> b) {
  return {a.lo + b.lo, a.hi + b.hi};
}
template <class V>
TIGHTKV_INLINE pair<V> operator-(pair<V> a, pair<V> b) {
  return {a.lo - b.lo, a.hi - b.hi};
}
template <class V>
TIGHTKV_INLINE pair<V> operator*(pair<V> a, pair<V> b) {
  return {a.lo * b.lo, a.hi * b.hi};
}
template <class V>
TIGHTKV_INLINE pair<V> operator/(pair<V> a, pair<V> b) {
  return {a.lo / b.lo, a.hi / b.hi};
}
template <class V>
TIGHTKV_INLINE pair<V> operator&(pair<V> a, pair<V> b) {
  return {a.lo & b.lo, a.hi & b.hi};
}
template <class V>
TIGHTKV_INLINE pair<V> operator|(pair<V> a, pair<V> b) {
  return {a.lo | b.lo, a.hi | b.hi};
}
template <class V>
TIGHTKV_INLINE pair<V> operator^(pair<V> a, pair<V> b) {
  return {a.lo ^ b.lo, a.hi ^ b.hi};
}
template <class V>
TIGHTKV_INLINE pair<V> operator~(pair<V> a) {
  return {~a.lo, ~a.hi};
}
template <class V>
TIGHTKV_INLINE pair<V> operator<<(pair<V> a, int by) {
  return {a.lo << by, a.hi << by};
}
template <class V>
TIGHTKV_INLINE pair<V> operator>>(pair<V> a, int by) {
  return {a.lo >> by, a.hi >> by};
}

template <class V>
TIGHTKV_INLINE pair<V> fma(pair<V> a, pair<V> b, pair<V> c) {
  return {fma(a.lo, b.lo, c.lo), fma(a.hi, b.hi, c.hi)};
}
template <class V>
TIGHTKV_INLINE pair<V> sqrt(pair<V> x) {
  return {sqrt(x.lo), sqrt(x.hi)};
}
template <class V>
TIGHTKV_INLINE pair<V> min(pair<V> a, pair<V> b) {
  return {min(a.lo, b.lo), min(a.hi, b.hi)};
}
template <class V>
TIGHTKV_INLINE pair<V> max(pair<V> a, pair<V> b) {
  return {max(a.lo, b.lo), max(a.hi, b.hi)};
}
template <class V>
TIGHTKV_INLINE pair<V> max_unsigned(pair<V> a, pair<V> b) {
  return {max_unsigned(a.lo, b.lo), max_unsigned(a.hi, b.hi)};
}

template <class V>
TIGHTKV_INLINE auto less(pair<V> a, pair<V> b) {
  return pair<decltype(less(a.lo, b.lo))>{less(a.lo, b.lo), less(a.hi, b.hi)};
}
template <class V>
TIGHTKV_INLINE auto greater(pair<V> a, pair<V> b) {
  return pair<decltype(greater(a.lo, b.lo))>{greater(a.lo, b.lo), greater(a.hi, b.hi)};
}
template <class V>
TIGHTKV_INLINE auto equal(pair<V> a, pair<V> b) {
  return pair<decltype(equal(a.lo, b.lo))>{equal(a.lo, b.lo), equal(a.hi, b.hi)};
}
template <class V>
TIGHTKV_INLINE auto is_nan(pair<V> x) {
  return pair<decltype(is_nan(x.lo))>{is_nan(x.lo), is_nan(x.hi)};
}
template <class V>
TIGHTKV_INLINE pair<V> both(pair<V> a, pair<V> b) {
  return {both(a.lo, b.lo), both(a.hi, b.hi)};
}
template <class V>
TIGHTKV_INLINE unsigned bits(pair<V> m) {
  return bits(m.lo) | (bits(m.hi) << lanes<V>);
}
template <class M, class V>
TIGHTKV_INLINE pair<V> where(pair<M> m, pair<V> yes, pair<V> no) {
  return {where(m.lo, yes.lo, no.lo), where(m.hi, yes.hi, no.hi)};
}

template <class V>
TIGHTKV_INLINE four folded(pair<V> x) {
  return folded(x.lo + x.hi);
}

template <class V>
TIGHTKV_INLINE int store_some(std::int32_t* p, pair<V> x, unsigned which) {
  std::int32_t all[lanes<pair<V>>];
  store(all, x);
  int count = 0;
  for (; which != 0; which &= which - 1) p[count++] = all[__builtin_ctz(which)];
  return count;
}
