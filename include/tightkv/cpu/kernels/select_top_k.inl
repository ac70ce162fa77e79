// SPDX-License-Identifier: Apache-2.0

/// Scores as integers in the same order: NaN first, -0 like +0.
TIGHTKV_INLINE ints ordered_keys(floats scores) {
  ints const pattern = as_ints(scores + all<floats>(0.0F));
  ints const key = pattern ^ ((pattern >> 31) & all<ints>(0x7fffffff));
  return where(is_nan(scores), all<ints>(worst_key), key);
}

/// Fills `keys` up to a whole vector, the rest with the worst key. Returns how many scores are NaN.
inline int keys_of(vectors, float const* scores, int count, std::int32_t* keys) {
  int nans = 0;
  int i = 0;
  for (; i + lanes<floats> <= count; i += lanes<floats>) {
    floats const x = load<floats>(scores + i);
    nans += __builtin_popcount(bits(is_nan(x)));
    store(keys + i, ordered_keys(x));
  }
  if (i < count) {
    floats const x = load_first<floats>(scores + i, count - i);
    nans += __builtin_popcount(bits(is_nan(x)));
    store(keys + i, ordered_keys(x));
    for (int j = count; j < i + lanes<floats>; ++j) keys[j] = worst_key;
  }
  return nans;
}

/// How many of `count` keys (a multiple of 16) are greater.
TIGHTKV_INLINE int greater_than(std::int32_t const* keys, int count, std::int32_t than) {
  int found[4] = {};
  int i = 0;
  for (; i + 4 * lanes<ints> <= count; i += 4 * lanes<ints>) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
      found[j] += __builtin_popcount(bits(greater(load<ints>(keys + i + j * lanes<ints>), all<ints>(than))));
  }
  for (; i < count; i += lanes<ints>) found[0] += __builtin_popcount(bits(greater(load<ints>(keys + i), all<ints>(than))));
  return found[0] + found[1] + found[2] + found[3];
}

/// The rank-th greatest of the keys (a multiple of 16 of them), counted from 1: bit by bit.
TIGHTKV_INLINE std::int32_t greatest_by_bits(std::int32_t const* keys, int count, int rank) {
  // The smallest key that fewer than `rank` keys are greater than.
  std::int64_t low = INT32_MIN;
  std::int64_t high = INT32_MAX;
  while (low < high) {
    std::int64_t const middle = (low + high) >> 1;
    if (greater_than(keys, count, static_cast<std::int32_t>(middle)) < rank) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return static_cast<std::int32_t>(low);
}

/// The same for many keys. A sample brackets the answer, one pass takes out what lies between; `spare` has room for as
/// many keys. Samples can mislead: then the answer is not in the bracket, and is looked for among all.
TIGHTKV_INLINE std::int32_t greatest(std::int32_t const* keys, int count, int rank, std::int32_t* spare) {
  constexpr int sampled = 512;
  if (count < 4 * sampled) return greatest_by_bits(keys, count, rank);
  for (int i = 0; i < sampled; ++i) spare[i] = keys[static_cast<std::int64_t>(i) * count / sampled];
  int const about = static_cast<int>(static_cast<std::int64_t>(rank) * sampled / count);
  constexpr int margin = 32;  // three standard deviations at a quarter
  std::int32_t const high = about > margin ? greatest_by_bits(spare, sampled, about - margin) : INT32_MAX;
  std::int32_t const low =
      about + margin < sampled ? greatest_by_bits(spare, sampled, about + margin) : INT32_MIN;

  int above = 0;
  int between = 0;
  for (int i = 0; i < count; i += lanes<ints>) {
    ints const x = load<ints>(keys + i);
    unsigned const over = bits(greater(x, all<ints>(high)));
    unsigned const under = bits(greater(all<ints>(low), x));
    above += __builtin_popcount(over);
    between += store_some(spare + between, x, 0xffffU & ~(over | under));
  }
  if (above >= rank || rank > above + between) return greatest_by_bits(keys, count, rank);
  int const padded = (between + lanes<ints> - 1) / lanes<ints> * lanes<ints>;
  for (int i = between; i < padded; ++i) spare[i] = worst_key;
  return greatest_by_bits(spare, padded, rank - above);
}

/// Writes the `best` best of `count` tokens to `out`, ascending; the first is number `first`. `keys` and `spare` have
/// room for as many keys, rounded up to 16. Returns how many scores are NaN.
inline int best_tokens(vectors set, float const* scores, int count, int best, int first, int* out, std::int32_t* keys,
                       std::int32_t* spare) {
  int const nans = keys_of(set, scores, count, keys);
  if (best == 0) return nans;
  int const padded = (count + lanes<ints> - 1) / lanes<ints> * lanes<ints>;
  std::int32_t const threshold = greatest(keys, padded, best, spare);
  int ties = best - greater_than(keys, padded, threshold);  // of equal scores the earlier are better
  std::int32_t steps[lanes<ints>];
  for (int i = 0; i < lanes<ints>; ++i) steps[i] = first + i;
  ints tokens = load<ints>(static_cast<std::int32_t const*>(steps));
  for (int i = 0; i < padded; i += lanes<ints>, tokens = tokens + all<ints>(lanes<ints>)) {
    ints const x = load<ints>(keys + i);
    unsigned which = bits(greater(x, all<ints>(threshold)));
    if (ties > 0) {
      unsigned equals = bits(equal(x, all<ints>(threshold)));
      for (; ties > 0 && equals != 0; equals &= equals - 1, --ties) which |= equals & (0U - equals);
    }
    out += store_some(out, tokens, which);
  }
  return nans;
}
