// SPDX-License-Identifier: Apache-2.0

/// Values of a 16-bit type from their patterns; poison as in `ranges_of`.
template <class T>
TIGHTKV_INLINE floats store_values(float* to, shorts patterns, floats poison) {
  T values[lanes<shorts>];
  store(reinterpret_cast<std::int16_t*>(values), patterns);
  for (int i = 0; i < lanes<shorts>; i += lanes<floats>) {
    floats const x = load<floats>(values + i);
    store(to + i, x);
    poison = fma(x, all<floats>(0.0F), poison);
  }
  return poison;
}

/// Where measured rows are copied to, one after another; or nowhere.
template <class T>
struct row_copies {
  T* to;
  int dim;

  TIGHTKV_INLINE void take(T const* row, int t, int channel, int count) const {
    if (to == nullptr) return;
    std::memcpy(to + static_cast<std::ptrdiff_t>(t) * dim + channel, row + channel,
                static_cast<std::size_t>(count) * sizeof(T));
  }
};

/// The lowest and the highest value of each of `Vectors` vectors of channels, over some rows. False where a value is
/// not finite.
template <int Vectors>
TIGHTKV_INLINE bool ranges_of(float const* const* rows, int count, int channel, row_copies<float> const& copies,
                              float* low, float* high) {
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
    copies.take(rows[t], t, channel, Vectors * lanes<floats>);
  }
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    store(low + channel + v * lanes<floats>, lowest[v]);
    store(high + channel + v * lanes<floats>, highest[v]);
    poison[0] = v > 0 ? poison[0] + poison[v] : poison[0];
  }
  return bits(is_nan(poison[0])) == 0;
}

/// The same for 16-bit types, as integers: no conversion, and twice as many at a time. Such patterns are a sign and a
/// magnitude. The greatest unsigned pattern is that of the lowest negative number, if there is any; the greatest signed
/// one that of the highest number, if any is positive; and the least signed one is right for the other cases.
template <int Vectors, class T>
TIGHTKV_INLINE bool ranges_of(T const* const* rows, int count, int channel, row_copies<T> const& copies, float* low,
                              float* high) {
  shorts least[Vectors];
  shorts most[Vectors];
  shorts most_unsigned[Vectors];
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    least[v] = all<shorts>(std::int16_t{0x7fff});
    most[v] = all<shorts>(std::int16_t{-0x7fff - 1});
    most_unsigned[v] = all<shorts>(std::int16_t{0});
  }
  for (int t = 0; t < count; ++t) {
    auto const* const row = reinterpret_cast<std::int16_t const*>(rows[t]) + channel;
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      shorts const x = load<shorts>(row + v * lanes<shorts>);
      least[v] = min(least[v], x);
      most[v] = max(most[v], x);
      most_unsigned[v] = max_unsigned(most_unsigned[v], x);
    }
    copies.take(rows[t], t, channel, Vectors * lanes<shorts>);
  }
  floats poison = all<floats>(0.0F);
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    shorts const negative = most_unsigned[v] >> 15;
    shorts const lowest = (most_unsigned[v] & negative) | (least[v] & ~negative);
    shorts const no_positive = most[v] >> 15;
    shorts const highest = (least[v] & no_positive) | (most[v] & ~no_positive);
    poison = store_values<T>(low + channel + v * lanes<shorts>, lowest, poison);
    poison = store_values<T>(high + channel + v * lanes<shorts>, highest, poison);
  }
  return bits(is_nan(poison)) == 0;
}

/// Of all channels from `channel` on, `Vectors` vectors of them at a time as long as there are so many. The last few
/// are looked at together with some before them. Needs a vector's worth of channels.
template <int Vectors, class T>
TIGHTKV_INLINE bool ranges_from(T const* const* rows, int count, int channel, int dim, row_copies<T> const& copies,
                                float* low, float* high) {
  constexpr int in_vector = 64 / static_cast<int>(sizeof(T));
  bool finite = true;
  for (; channel + Vectors * in_vector <= dim; channel += Vectors * in_vector)
    finite = ranges_of<Vectors>(rows, count, channel, copies, low, high) && finite;
  if constexpr (Vectors > 1) {
    return ranges_from<Vectors / 2>(rows, count, channel, dim, copies, low, high) && finite;
  } else {
    if (channel < dim) finite = ranges_of<1>(rows, count, dim - in_vector, copies, low, high) && finite;
    return finite;
  }
}

/// Measures `count` rows, and copies them to `copies` unless that is null. Returns how many channels count, or -1 where
/// a row holds a value that is not finite.
template <class T>
inline int measure(vectors, T const* const* rows, int count, int dim, T* copies, lag_channels const& to) {
  row_copies<T> const taken{copies, dim};
  if (!ranges_from<vectors::ranges_at_once>(rows, count, 0, dim, taken, to.low, to.scale)) return -1;
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

/// Rows that will be needed: their lines are asked for one after another. A core that is asked for several at once
/// drops some, so each waits until the place of the one before it has been through memory twice.
template <class T>
struct rows_ahead {
  T const* const* rows;
  int count;  // may be 0
  int bytes;  // of a row
  int row = 0;
  int byte = 0;

  TIGHTKV_INLINE void fetch(int lines) {
    for (; lines > 0 && row < count; --lines) {
      __builtin_prefetch(reinterpret_cast<char const*>(rows[row]) + byte, 0, 2);
      byte += 32;
      __asm__("" : "+m"(byte));
      byte += 32;
      __asm__("" : "+m"(byte));
      if (byte < bytes) continue;
      byte = 0;
      ++row;
    }
  }
};

/// Whether rows are converted when they are read. Then that is done once: the first pass leaves in `above` where their
/// channels lie above the low ends, a vector of each row after another, for the second. To read floats again is faster.
template <class T>
inline constexpr bool is_converted = !std::is_same_v<T, float>;

/// Where 16 channels of some rows lie above the low ends.
template <int Rows, class T>
TIGHTKV_INLINE void offsets_of(T const* const (&row)[Rows], int c, lag_channels const& from, floats (&x)[Rows]) {
  floats const low = load<floats>(from.low + c);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) x[r] = load<floats>(row[r] + c) - low;
}
/// The same of the last `count` channels.
template <int Rows, class T>
TIGHTKV_INLINE void last_offsets_of(T const* const (&row)[Rows], int c, int count, lag_channels const& from,
                                    floats (&x)[Rows]) {
  floats const low = load<floats>(from.low + c);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) x[r] = load_first<floats>(row[r] + c, count) - low;
}

/// Adds 16 normalised channels of some rows to their sums.
template <class T, int Rows>
TIGHTKV_INLINE void add_normalised(floats const (&x)[Rows], int c, lag_channels const& from, float* above,
                                   floats (&sum)[Rows]) {
  floats const scale = load<floats>(from.scale + c);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    if constexpr (is_converted<T>) store(above + c * Rows + r * lanes<floats>, x[r]);
    sum[r] = fma(x[r], scale, sum[r]);
  }
}

/// mean[r] = that of row r's normalised channels.
template <int Rows, class T>
TIGHTKV_INLINE void means_of(T const* const (&row)[Rows], rows_ahead<T>& ahead, int dim, lag_channels const& from,
                             int channels, float* above, float* mean) {
  floats sum[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) sum[r] = all<floats>(0.0F);
  floats x[Rows];
  int c = 0;
  for (; c + lanes<floats> <= dim; c += lanes<floats>) {
    offsets_of(row, c, from, x);
    add_normalised<T>(x, c, from, above, sum);
    ahead.fetch(Rows * static_cast<int>(sizeof(T)) / 8);
  }
  if (c < dim) {
    last_offsets_of(row, c, dim - c, from, x);
    add_normalised<T>(x, c, from, above, sum);
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r += 4) {
    four const sums = totals(sum[r], sum[r + 1], sum[r + 2], sum[r + 3]);
    store(mean + r, sums / (four{} + static_cast<float>(channels)));
  }
}

/// Adds the squares of 16 channels' deviations from the means. `addend(c, x)` is x where a channel counts.
template <int Rows, class Addend>
TIGHTKV_INLINE void add_squares(floats const (&x)[Rows], int c, lag_channels const& from,
                                floats const (&minus_mean)[Rows], Addend addend, floats (&sum)[Rows]) {
  floats const scale = load<floats>(from.scale + c);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    floats const deviation = fma(x[r], scale, addend(c, minus_mean[r]));
    sum[r] = fma(deviation, deviation, sum[r]);
  }
}

/// spread[r] = the unbiased standard deviation of the same channels.
template <int Rows, class T, class Addend>
TIGHTKV_INLINE void deviations_of(T const* const (&row)[Rows], rows_ahead<T>& ahead, int dim,
                                  lag_channels const& from, int channels, float const* mean, Addend addend,
                                  float const* above, float* spread) {
  floats sum[Rows];
  floats minus_mean[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    sum[r] = all<floats>(0.0F);
    minus_mean[r] = all<floats>(-mean[r]);
  }
  floats x[Rows];
  int const end = is_converted<T> ? dim : dim / lanes<floats> * lanes<floats>;
  int c = 0;
  for (; c < end; c += lanes<floats>) {
    if constexpr (is_converted<T>) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) x[r] = load<floats>(above + c * Rows + r * lanes<floats>);
    } else {
      offsets_of(row, c, from, x);
    }
    add_squares(x, c, from, minus_mean, addend, sum);
    ahead.fetch(Rows * static_cast<int>(sizeof(T)) / 8);
  }
  if (c < dim) {
    last_offsets_of(row, c, dim - c, from, x);
    add_squares(x, c, from, minus_mean, addend, sum);
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r += 4) {
    four const squares = totals(sum[r], sum[r + 1], sum[r + 2], sum[r + 3]);
    store(spread + r, sqrt(squares / (four{} + static_cast<float>(channels - 1))));
  }
}

struct every_channel {
  TIGHTKV_INLINE floats operator()(int, floats x) const { return x; }
};
struct used_channels {
  std::int32_t const* used;
  TIGHTKV_INLINE floats operator()(int c, floats x) const { return as_floats(as_ints(x) & load<ints>(used + c)); }
};

/// spread[i] = that of row i, not finite where it is none. Fetches the rows `upcoming`, if any, meanwhile. A block of
/// rows at a time: sums of several rows, because each waits for the one before it, and all means of the block before
/// the first of them is needed.
template <class T, class Addend>
TIGHTKV_INLINE void spreads_with(T const* const* rows, int count, int dim, lag_channels const& from, int channels,
                                 T const* const* upcoming, float* above, Addend addend, float* spread) {
  constexpr int at_once = vectors::rows_at_once;
  constexpr int in_block = lag_channels::rows_of_a_block;
  int const padded = (dim + lanes<floats> - 1) / lanes<floats> * lanes<floats>;
  float of_block[in_block];
  rows_ahead<T> ahead{upcoming, upcoming != nullptr ? count : 0, dim * static_cast<int>(sizeof(T))};
  for (int t = 0; t < count; t += in_block) {
    int const found = count - t < in_block ? count - t : in_block;
    T const* row[in_block];
    for (int r = 0; r < in_block; ++r) row[r] = rows[t + (r < found ? r : 0)];
    for (int g = 0; g < found; g += at_once) {
      auto const& group = reinterpret_cast<T const* const(&)[at_once]>(row[g]);
      means_of(group, ahead, dim, from, channels, above + g * padded, of_block + g);
    }
    for (int g = 0; g < found; g += at_once) {
      auto const& group = reinterpret_cast<T const* const(&)[at_once]>(row[g]);
      deviations_of(group, ahead, dim, from, channels, of_block + g, addend, above + g * padded, of_block + g);
    }
    for (int r = 0; r < found; ++r) spread[t + r] = of_block[r];
  }
}
template <class T>
inline void spreads_of(vectors, T const* const* rows, int count, int dim, lag_channels const& from, int channels,
                       T const* const* upcoming, float* spread) {
  if (channels == dim && dim % lanes<floats> == 0) {
    spreads_with(rows, count, dim, from, channels, upcoming, from.above, every_channel{}, spread);
  } else {
    spreads_with(rows, count, dim, from, channels, upcoming, from.above, used_channels{from.used}, spread);
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
