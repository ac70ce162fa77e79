// SPDX-License-Identifier: Apache-2.0

/// Scores as integers in the same order: NaN first, -0 like +0.
TIGHTKV_INLINE ints ordered_keys(floats scores) {
  ints const pattern = as_ints(scores + all<floats>(0.0F));
  ints const key = pattern ^ ((pattern >> 31) & all<ints>(0x7fffffff));
  return where(is_nan(scores), all<ints>(worst_key), key);
}

/// The keys of scores i, i + 1, ...; past the last of `count` the worst.
TIGHTKV_INLINE ints keys_at(float const* scores, int i, int count) {
  if (i + lanes<floats> <= count) return ordered_keys(load<floats>(scores + i));
  float some[lanes<floats>];
  for (int j = 0; j < lanes<floats>; ++j) some[j] = i + j < count ? scores[i + j] : __builtin_nanf("");
  return ordered_keys(load<floats>(static_cast<float const*>(some)));
}

/// Fills `keys` up to a whole vector.
TIGHTKV_INLINE void keys_of(float const* scores, int count, std::int32_t* keys) {
  for (int i = 0; i < count; i += lanes<floats>) store(keys + i, keys_at(scores, i, count));
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
  for (; i < count; i += lanes<ints>)
    found[0] += __builtin_popcount(bits(greater(load<ints>(keys + i), all<ints>(than))));
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

/// The worst key that is kept, and how many of those that are its equals.
struct threshold {
  std::int32_t key;
  int ties;
};

/// Of `count` keys, a multiple of 16, `rank` are kept.
TIGHTKV_INLINE threshold threshold_of(std::int32_t const* keys, int count, int rank) {
  std::int32_t const key = greatest_by_bits(keys, count, rank);
  return {key, rank - greater_than(keys, count, key)};
}

/// Of `count` scores `rank` are kept. Of many, a sample brackets the answer, and one pass takes out what lies between;
/// `spare` has room for as many keys, rounded up to 16. Samples can mislead: then the answer is not in the bracket, and
/// is looked for among all.
TIGHTKV_INLINE threshold threshold_of(float const* scores, int count, int rank, std::int32_t* spare) {
  constexpr int sampled = 512;
  int const padded = (count + lanes<ints> - 1) / lanes<ints> * lanes<ints>;
  if (count >= 4 * sampled) {
    float some[sampled];
    for (int i = 0; i < sampled; ++i) some[i] = scores[static_cast<std::int64_t>(i) * count / sampled];
    std::int32_t sample[sampled];
    keys_of(some, sampled, sample);
    int const about = static_cast<int>(static_cast<std::int64_t>(rank) * sampled / count);
    constexpr int margin = 32;  // three standard deviations at a quarter
    std::int32_t const high = about > margin ? greatest_by_bits(sample, sampled, about - margin) : INT32_MAX;
    std::int32_t const low =
        about + margin < sampled ? greatest_by_bits(sample, sampled, about + margin) : INT32_MIN;

    int above = 0;
    int between = 0;
    for (int i = 0; i < count; i += lanes<ints>) {
      ints const x = keys_at(scores, i, count);
      unsigned const over = bits(greater(x, all<ints>(high)));
      unsigned const under = bits(greater(all<ints>(low), x));
      above += __builtin_popcount(over);
      between += store_some(spare + between, x, 0xffffU & ~(over | under));
    }
    if (above < rank && rank <= above + between) {
      int const whole = (between + lanes<ints> - 1) / lanes<ints> * lanes<ints>;
      for (int i = between; i < whole; ++i) spare[i] = worst_key;
      return threshold_of(spare, whole, rank - above);
    }
  }
  keys_of(scores, count, spare);
  return threshold_of(spare, padded, rank);
}

/// Writes the `best` best of `count` tokens to `out`, ascending; the first is number `first`. `spare` has room for as
/// many keys, rounded up to 16. Returns how many scores are NaN.
inline int best_tokens(vectors, float const* scores, int count, int best, int first, int* out, std::int32_t* spare) {
  threshold least = {INT32_MAX, 0};
  if (best > 0) least = threshold_of(scores, count, best, spare);  // of equal scores the earlier are better
  std::int32_t steps[lanes<ints>];
  for (int i = 0; i < lanes<ints>; ++i) steps[i] = first + i;
  ints tokens = load<ints>(static_cast<std::int32_t const*>(steps));
  int nans = 0;
  for (int i = 0; i < count; i += lanes<ints>, tokens = tokens + all<ints>(lanes<ints>)) {
    ints const x = keys_at(scores, i, count);
    nans += __builtin_popcount(bits(equal(x, all<ints>(worst_key))));
    unsigned which = bits(greater(x, all<ints>(least.key)));
    if (least.ties > 0) {
      unsigned equals = bits(equal(x, all<ints>(least.key)));
      for (; least.ties > 0 && equals != 0; equals &= equals - 1, --least.ties) which |= equals & (0U - equals);
    }
    out += store_some(out, tokens, which);
  }
  return nans - (lanes<ints> - count % lanes<ints>) % lanes<ints>;  // without those past the last
}
