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

/// Rows that will be needed: their lines are asked for one after another, evenly over all that is done meanwhile, `ratio`
/// for each line that is looked at. A core that is asked for several at once drops some, so each waits until the place of
/// the one before it has been through memory.
template <class T>
class rows_ahead {
 public:
  rows_ahead(T const* const* rows, int count, int bytes, int ratio)
      : rows_(rows), count_(count), bytes_(bytes), byte_(count > 0 ? -place_in_line(rows[0]) : 0) {
    int const lines = (bytes_ - byte_ + line - 1) / line;
    price_ = 8 * bytes_ / lines / ratio;
  }

  /// Where `done` eighths of a byte of the rows have been looked at, in one of the ways in which they are.
  TIGHTKV_INLINE void fetch(int done) {
    if (row_ >= count_) return;
    for (due_ += done; due_ >= price_ && row_ < count_; due_ -= price_) {
      __builtin_prefetch(reinterpret_cast<char const*>(rows_[row_]) + byte_, 0, 2);
      int next = byte_ + line;
      __asm__("" : "+m"(next));
      byte_ = next;
      if (next < bytes_) continue;
      ++row_;
      byte_ = row_ < count_ ? -place_in_line(rows_[row_]) : 0;
    }
  }

 private:
  static constexpr int line = 64;
  TIGHTKV_INLINE static int place_in_line(T const* p) {
    return static_cast<int>(reinterpret_cast<std::uintptr_t>(p) % line);
  }

  T const* const* rows_;
  int count_;  // may be 0
  int bytes_;  // of a row
  int price_;  // of a line
  int row_ = 0;
  int byte_;
  int due_ = 0;
};

/// How many eighths of the lines are asked for while ranges are taken, which is quicker with 16-bit types; the others
/// while rows are added up.
template <class T>
inline constexpr int fetched_while_measuring = sizeof(T) == 4 ? 3 : 2;

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
                              rows_ahead<float>& ahead, float* low, float* high) {
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
    ahead.fetch(fetched_while_measuring<float> * Vectors * 64);
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
TIGHTKV_INLINE bool ranges_of(T const* const* rows, int count, int channel, row_copies<T> const& copies,
                              rows_ahead<T>& ahead, float* low, float* high) {
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
      shorts x = load<shorts>(row + v * lanes<shorts>);
      hold(x);
      least[v] = min(least[v], x);
      most[v] = max(most[v], x);
      most_unsigned[v] = max_unsigned(most_unsigned[v], x);
    }
    copies.take(rows[t], t, channel, Vectors * lanes<shorts>);
    ahead.fetch(fetched_while_measuring<T> * Vectors * 64);
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
                                rows_ahead<T>& ahead, float* low, float* high) {
  constexpr int in_vector = 64 / static_cast<int>(sizeof(T));
  bool finite = true;
  for (; channel + Vectors * in_vector <= dim; channel += Vectors * in_vector)
    finite = ranges_of<Vectors>(rows, count, channel, copies, ahead, low, high) && finite;
  if constexpr (Vectors > 1) {
    return ranges_from<Vectors / 2>(rows, count, channel, dim, copies, ahead, low, high) && finite;
  } else {
    if (channel < dim) finite = ranges_of<1>(rows, count, dim - in_vector, copies, ahead, low, high) && finite;
    return finite;
  }
}

/// Measures the reference, and copies it. Returns how many channels count, or -1 where a row holds a value that is not
/// finite.
template <class T>
TIGHTKV_INLINE int measure(lag_rows<T> const& at, rows_ahead<T>& ahead, lag_channels const& to) {
  int const dim = at.dim;
  float* const low = to.middle;
  float* const high = to.scale;
  row_copies<T> const copies{at.copies, dim};
  if (!ranges_from<vectors::ranges_at_once>(at.reference, at.lag, 0, dim, copies, ahead, low, high)) return -1;
  int channels = 0;
  floats const zero = all<floats>(0.0F);
  for (int c = 0; c < dim; c += lanes<floats>) {
    for (int i = dim; i < c + lanes<floats>; ++i) low[i] = high[i] = 0.0F;
    floats const lowest = load<floats>(low + c);
    floats const range = load<floats>(high + c) - lowest;
    floats const scale = all<floats>(1.0F) / range;
    // Infinite are the ranges of opposite extremes, and the reciprocals of tiny ranges and of none.
    floats const infinity = all<floats>(__builtin_inff());
    auto const counts = both(both(less(zero, range), less(range, infinity)), less(scale, infinity));
    channels += __builtin_popcount(bits(counts));
    store(to.middle + c, where(counts, fma(range, all<floats>(0.5F), lowest), zero));
    store(to.scale + c, where(counts, scale, zero));
  }
  return channels;
}

/// Adds 16 normalised channels of some rows to their sums, and the squares to those of their squares.
template <int Rows>
TIGHTKV_INLINE void add_normalised(floats const (&x)[Rows], int c, channel_scales const& of, floats (&sum)[2 * Rows]) {
  floats const middle = load<floats>(of.middle + c);
  floats const scale = load<floats>(of.scale + c);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    floats const normalised = fma(x[r] - middle, scale, all<floats>(0.0F));
    sum[r] = sum[r] + normalised;
    sum[Rows + r] = fma(normalised, normalised, sum[Rows + r]);
  }
}

/// Of each of some rows the sum of the normalised channels, then of each that of their squares.
template <int Rows, class T>
TIGHTKV_INLINE void sums_of(T const* const* row, rows_ahead<T>& ahead, int dim, channel_scales const& of,
                            float (&sums)[2 * Rows]) {
  floats sum[2 * Rows];
#pragma GCC unroll 16
  for (int r = 0; r < 2 * Rows; ++r) sum[r] = all<floats>(0.0F);
  floats x[Rows];
  int c = 0;
  for (; c + lanes<floats> <= dim; c += lanes<floats>) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) x[r] = load<floats>(row[r] + c);
    add_normalised(x, c, of, sum);
    ahead.fetch((8 - fetched_while_measuring<T>) * Rows * lanes<floats> * static_cast<int>(sizeof(T)));
  }
  if (c < dim) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) x[r] = load_first<floats>(row[r] + c, dim - c);
    add_normalised(x, c, of, sum);
  }
  store_totals(sum, sums);
}

/// spread[i] = that of row i, not finite where it is none.
template <class T>
TIGHTKV_INLINE void spread_all(lag_rows<T> const& at, rows_ahead<T>& ahead, channel_scales const& of, float* spread) {
  constexpr int at_once = vectors::rows_at_once;
  constexpr int in_block = lanes<floats>;
  floats const each = all<floats>(1.0F / static_cast<float>(of.channels));
  floats const others = all<floats>(static_cast<float>(of.channels - 1));
  for (int t = 0; t < at.lag; t += in_block) {
    int const found = at.lag - t < in_block ? at.lag - t : in_block;
    T const* row[in_block];
    for (int r = 0; r < in_block; ++r) row[r] = at.judged[t + (r < found ? r : 0)];
    float sums[in_block] = {};
    float squares[in_block] = {};
    for (int r = 0; r < found; r += at_once) {
      float both[2 * at_once];
      sums_of<at_once>(row + r, ahead, at.dim, of, both);
      std::memcpy(sums + r, both, at_once * sizeof(float));
      std::memcpy(squares + r, both + at_once, at_once * sizeof(float));
    }

    floats const sum = load<floats>(sums);
    floats const square = load<floats>(squares);
    floats const mean = sum * each;
    floats const deviations = fma(all<floats>(0.0F) - sum, mean, square);
    floats const u = sqrt(deviations / others);
    if (found == in_block) {
      store(spread + t, u);
    } else {
      store_first(spread + t, u, found);
    }
    // As `loses_digits`.
    unsigned careful =
        bits(less(all<floats>(most_cancellation) * deviations, square)) | bits(is_nan(deviations));
    for (; careful != 0; careful &= careful - 1) {
      int const r = __builtin_ctz(careful);
      if (r < found) spread[t + r] = detail::spread(tightkv::row<T const>{row[r], at.dim}, of);
    }
  }
}

/// The same for the judged rows, by the ranges of the reference. False, and nothing is there, where a row of that is
/// not finite or hardly any channel has a range.
template <class T>
inline bool spreads_of(vectors, lag_rows<T> const& at, lag_channels const& scratch, float* spread) {
  int const count = static_cast<int>(at.upcoming.size());
  int const ratio = count > at.lag ? 2 : 1;
  rows_ahead<T> ahead(at.upcoming.data(), count, at.dim * static_cast<int>(sizeof(T)), ratio);
  int const channels = measure(at, ahead, scratch);
  if (channels < 2) return false;
  spread_all(at, ahead, {scratch.middle, scratch.scale, channels}, spread);
  return true;
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
