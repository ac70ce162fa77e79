// SPDX-License-Identifier: Apache-2.0

/// Bit patterns of 16-bit floats in an order that integer comparisons understand, and back.
TIGHTKV_INLINE shorts ordered(shorts x) { return x ^ ((x >> 15) & all<shorts>(std::int16_t{0x7fff})); }

/// Values of a 16-bit type, from their ordered patterns; poison as in `ranges_of`.
template <class T>
TIGHTKV_INLINE floats store_values(float* to, shorts patterns, floats poison) {
  T values[lanes<shorts>];
  store(reinterpret_cast<std::int16_t*>(values), ordered(patterns));
  for (int i = 0; i < lanes<shorts>; i += lanes<floats>) {
    floats const x = load<floats>(values + i);
    store(to + i, x);
    poison = fma(x, all<floats>(0.0F), poison);
  }
  return poison;
}

/// The lowest and the highest value of each of `Vectors` vectors of channels, over some rows. False where a value is
/// not finite.
template <int Vectors>
TIGHTKV_INLINE bool ranges_of(float const* const* rows, int count, int channel, float* low, float* high) {
  floats lowest[Vectors];
  floats highest[Vectors];
  floats poison[Vectors];
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    lowest[v] = all<floats>(__builtin_inff());
    highest[v] = all<floats>(-__builtin_inff());
    poison[v] = all<floats>(0.0F);
  }
  for (int t = 0; t < count; ++t) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      floats x = load<floats>(rows[t] + channel + v * lanes<floats>);
      hold(x);
      lowest[v] = min(lowest[v], x);
      highest[v] = max(highest[v], x);
      poison[v] = fma(x, all<floats>(0.0F), poison[v]);  // stays 0 as long as all are finite
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    store(low + channel + v * lanes<floats>, lowest[v]);
    store(high + channel + v * lanes<floats>, highest[v]);
    poison[0] = v > 0 ? poison[0] + poison[v] : poison[0];
  }
  return bits(is_nan(poison[0])) == 0;
}

/// The same for 16-bit types, as integers: no conversion, and twice as many at a time.
template <int Vectors, class T>
TIGHTKV_INLINE bool ranges_of(T const* const* rows, int count, int channel, float* low, float* high) {
  shorts lowest[Vectors];
  shorts highest[Vectors];
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    lowest[v] = all<shorts>(std::int16_t{0x7fff});
    highest[v] = all<shorts>(std::int16_t{-0x7fff - 1});
  }
  for (int t = 0; t < count; ++t) {
    auto const* const row = reinterpret_cast<std::int16_t const*>(rows[t]) + channel;
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      shorts const x = ordered(load<shorts>(row + v * lanes<shorts>));
      lowest[v] = min(lowest[v], x);
      highest[v] = max(highest[v], x);
    }
  }
  floats poison = all<floats>(0.0F);
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    poison = store_values<T>(low + channel + v * lanes<shorts>, lowest[v], poison);
    poison = store_values<T>(high + channel + v * lanes<shorts>, highest[v], poison);
  }
  return bits(is_nan(poison)) == 0;
}

/// Of all channels from `channel` on, `Vectors` vectors of them at a time as long as there are so many. The last few
/// are looked at together with some before them. Needs a vector's worth of channels.
template <int Vectors, class T>
TIGHTKV_INLINE bool ranges_from(T const* const* rows, int count, int channel, int dim, float* low, float* high) {
  constexpr int in_vector = 64 / static_cast<int>(sizeof(T));
  bool finite = true;
  for (; channel + Vectors * in_vector <= dim; channel += Vectors * in_vector)
    finite = ranges_of<Vectors>(rows, count, channel, low, high) && finite;
  if constexpr (Vectors > 1) {
    return ranges_from<Vectors / 2>(rows, count, channel, dim, low, high) && finite;
  } else {
    if (channel < dim) finite = ranges_of<1>(rows, count, dim - in_vector, low, high) && finite;
    return finite;
  }
}

/// Measures `count` rows. Returns how many channels count, or -1 where a row holds a value that is not finite.
template <class T>
inline int measure(vectors, T const* const* rows, int count, int dim, lag_channels const& to) {
  if (!ranges_from<vectors::ranges_at_once>(rows, count, 0, dim, to.low, to.scale)) return -1;
  int channels = 0;
  floats const zero = all<floats>(0.0F);
  for (int c = 0; c < dim; c += lanes<floats>) {
    if (c + lanes<floats> > dim) {
      for (int i = dim; i < c + lanes<floats>; ++i) to.low[i] = to.scale[i] = 0.0F;
    }
    floats const low = load<floats>(to.low + c);
    floats const range = load<floats>(to.scale + c) - low;
    floats const scale = all<floats>(1.0F) / range;
    // Infinite are the ranges of opposite extremes, and the reciprocals of tiny ranges and of none.
    floats const infinity = all<floats>(__builtin_inff());
    auto const counts = both(both(less(zero, range), less(range, infinity)), less(scale, infinity));
    channels += __builtin_popcount(bits(counts));
    store(to.low + c, where(counts, low, zero));
    store(to.scale + c, where(counts, scale, zero));
    store(to.used + c, where(counts, all<ints>(-1), all<ints>(0)));
  }
  return channels;
}

/// Adds 16 normalised channels of some rows to their sums.
template <int Rows, class T>
TIGHTKV_INLINE void add_normalised(T const* const (&row)[Rows], int c, floats low, floats scale, floats (&sum)[Rows]) {
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) sum[r] = fma(load<floats>(row[r] + c) - low, scale, sum[r]);
}

/// Adds the squares of their deviations from the mean.
template <int Rows, class T>
TIGHTKV_INLINE void add_squares(T const* const (&row)[Rows], int c, floats low, floats scale, ints used,
                                floats const (&minus_mean)[Rows], floats (&sum)[Rows]) {
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    floats const addend = as_floats(as_ints(minus_mean[r]) & used);
    floats const deviation = fma(load<floats>(row[r] + c) - low, scale, addend);
    sum[r] = fma(deviation, deviation, sum[r]);
  }
}

/// spread[r] = the unbiased standard deviation of row r's normalised channels, not finite where it is none. Some rows at
/// once, because each sum waits for the one before it.
template <int Rows, class T>
TIGHTKV_INLINE void spreads_of_some(T const* const (&row)[Rows], int dim, lag_channels const& from, int channels,
                                    float* spread) {
  int const whole = dim / lanes<floats> * lanes<floats>;
  T rest[Rows][lanes<floats>] = {};  // the last channels, and zeros, where they do not fill a vector
  T const* rests[Rows];
  floats sum[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    rests[r] = rest[r];
    sum[r] = all<floats>(0.0F);
    if (whole < dim) std::memcpy(rest[r], row[r] + whole, static_cast<std::size_t>(dim - whole) * sizeof(T));
  }
  T const* const(&last)[Rows] = rests;

  int c = 0;
  for (; c < whole; c += lanes<floats>)
    add_normalised(row, c, load<floats>(from.low + c), load<floats>(from.scale + c), sum);
  if (c < dim) add_normalised(last, 0, load<floats>(from.low + c), load<floats>(from.scale + c), sum);

  floats minus_mean[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r += 4) {
    four const mean = totals(sum[r], sum[r + 1], sum[r + 2], sum[r + 3]) / (four{} + static_cast<float>(channels));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      minus_mean[r + i] = all<floats>(-mean[i]);
      sum[r + i] = all<floats>(0.0F);
    }
  }
  floats const(&addend)[Rows] = minus_mean;
  for (c = 0; c < whole; c += lanes<floats>) {
    add_squares(row, c, load<floats>(from.low + c), load<floats>(from.scale + c), load<ints>(from.used + c), addend,
                sum);
  }
  if (c < dim) {
    add_squares(last, 0, load<floats>(from.low + c), load<floats>(from.scale + c), load<ints>(from.used + c), addend,
                sum);
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r += 4) {
    four const squares = totals(sum[r], sum[r + 1], sum[r + 2], sum[r + 3]);
    store(spread + r, sqrt(squares / (four{} + static_cast<float>(channels - 1))));
  }
}

/// spread[i] = that of row i. Fetches the rows `upcoming`, if any, meanwhile.
template <class T>
inline void spreads_of(vectors, T const* const* rows, int count, int dim, lag_channels const& from, int channels,
                       T const* const* upcoming, float* spread) {
  constexpr int at_once = vectors::rows_at_once;
  for (int t = 0; t < count; t += at_once) {
    int const found = count - t < at_once ? count - t : at_once;
    T const* row[at_once];
    for (int r = 0; r < at_once; ++r) row[r] = rows[t + (r < found ? r : 0)];
    for (int r = 0; upcoming != nullptr && r < found; ++r) {
      auto const* const bytes = reinterpret_cast<char const*>(upcoming[t + r]);
      for (int b = 0; b < dim * static_cast<int>(sizeof(T)); b += 64) __builtin_prefetch(bytes + b, 0, 2);
    }
    T const* const(&all_rows)[at_once] = row;
    float found_spreads[at_once];
    spreads_of_some(all_rows, dim, from, channels, found_spreads);
    for (int r = 0; r < found; ++r) spread[t + r] = found_spreads[r];
  }
}

/// `detail::softmax` in place. An entry that is not finite becomes NaN and takes no part.
inline void softmax_of(vectors, float* x, int n) {
  int const whole = n / lanes<floats> * lanes<floats>;
  floats const infinity = all<floats>(__builtin_inff());
  float most = -__builtin_inff();
  floats highest = all<floats>(most);
  for (int i = 0; i < whole; i += lanes<floats>) {
    floats u = load<floats>(x + i);
    u = where(less(u, infinity), u, all<floats>(__builtin_nanf("")));
    highest = where(less(highest, u), u, highest);
    store(x + i, u);
  }
  float lane[lanes<floats>];
  store(lane, highest);
  for (float const u : lane) most = u > most ? u : most;
  for (int i = whole; i < n; ++i) {
    if (!(x[i] < __builtin_inff())) x[i] = __builtin_nanf("");
    most = x[i] > most ? x[i] : most;
  }

  floats sums = all<floats>(0.0F);
  for (int i = 0; i < whole; i += lanes<floats>) {
    floats const e = exp(load<floats>(x + i) - all<floats>(most));
    sums = sums + where(is_nan(e), all<floats>(0.0F), e);
    store(x + i, e);
  }
  lane_sum sum;
  store(sum.lane, sums);
  for (int i = whole; i < n; ++i) {
    if (x[i] != x[i]) continue;
    x[i] = detail::exp(x[i] - most);
    sum.add(i, x[i]);
  }
  float const total = sum.total();
  for (int i = 0; i < whole; i += lanes<floats>) store(x + i, load<floats>(x + i) / all<floats>(total));
  for (int i = whole; i < n; ++i) x[i] /= total;
}

/// score[i] += weight * of_values[i], as one multiply-add.
inline void add_weighted(vectors, float weight, float const* of_values, int n, float* score) {
  int i = 0;
  for (; i + lanes<floats> <= n; i += lanes<floats>)
    store(score + i, fma(all<floats>(weight), load<floats>(of_values + i), load<floats>(score + i)));
  for (; i < n; ++i) score[i] = detail::fma(weight, of_values[i], score[i]);
}
