// SPDX-License-Identifier: Apache-2.0
// Vectors wider than the machine's: two halves, each a vector of the machine or again a pair.

template <class V>
struct pair {
  V lo;
  V hi;
};

template <class V>
inline constexpr int lanes = sizeof(V) / sizeof(V{}[0]);
template <class V>
inline constexpr int lanes<pair<V>> = 2 * lanes<V>;

/// The same number in every lane.
template <class V, class T>
TIGHTKV_INLINE void fill(V& x, T value) {
  x = value - V{};
}
template <class V, class T>
TIGHTKV_INLINE void fill(pair<V>& x, T value) {
  fill(x.lo, value);
  fill(x.hi, value);
}
