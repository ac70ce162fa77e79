// SPDX-License-Identifier: Apache-2.0

/// `detail::inverse_root` of each.
TIGHTKV_INLINE floats inverse_roots(floats squares) {
  floats const zero = all<floats>(0.0F);
  floats const inverse = where(less(zero, squares), all<floats>(1.0F) / sqrt(squares), zero);
  return where(is_nan(squares - squares), all<floats>(__builtin_nanf("")), inverse);
}
inline void inverse_roots_of(vectors, float* x, int count) {
  int i = 0;
  for (; i + lanes<floats> <= count; i += lanes<floats>) store(x + i, inverse_roots(load<floats>(x + i)));
  if (i < count) store_first(x + i, inverse_roots(load_first<floats>(x + i, count - i)), count - i);
}

/// sum[c] = the sum over the rows, in order, of scale[t] * row t, for `Vectors` vectors of channels; rows whose scale
/// is NaN are passed over. Meanwhile as much of the `coming` rows `next` is fetched.
template <int Vectors, class T>
TIGHTKV_INLINE void add_scaled(T const* const* rows, float const* scale, int count, T const* const* next, int coming,
                               int channel, float* sum) {
  floats total[Vectors];
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) total[v] = all<floats>(0.0F);
  for (int t = 0; t < count; ++t) {
    if (t < coming) {
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) __builtin_prefetch(next[t] + channel + v * lanes<floats>, 0, 2);
    }
    if (scale[t] != scale[t]) continue;
    floats const factor = all<floats>(scale[t]);
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v)
      total[v] = fma(load<floats>(rows[t] + channel + v * lanes<floats>), factor, total[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) store(sum + channel + v * lanes<floats>, total[v]);
}

/// The same for all channels: whole vectors, then one by one.
template <class T>
inline void sum_of_scaled(vectors, T const* const* rows, float const* scale, int count, T const* const* next,
                          int coming, int dim, float* sum) {
  int c = 0;
  for (; c + 4 * lanes<floats> <= dim; c += 4 * lanes<floats>)
    add_scaled<4>(rows, scale, count, next, coming, c, sum);
  for (; c + lanes<floats> <= dim; c += lanes<floats>) add_scaled<1>(rows, scale, count, next, coming, c, sum);
  for (; c < dim; ++c) {
    float total = 0.0F;
    for (int t = 0; t < count; ++t) {
      if (scale[t] == scale[t]) total = detail::fma(static_cast<float>(rows[t][c]), scale[t], total);
    }
    sum[c] = total;
  }
}

/// Adds 16 products of four rows with the same vector to their sums.
template <class T>
TIGHTKV_INLINE void add_products(T const* const (&row)[4], int c, floats other, floats (&sum)[4]) {
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) sum[r] = fma(load<floats>(row[r] + c), other, sum[r]);
}

/// out[i] = the inner product of row i with `other`.
template <class T>
inline void products_with(vectors, T const* const* rows, int count, int dim, float const* other, float* out) {
  int const whole = dim / lanes<floats> * lanes<floats>;
  int const quarter = (count + 3) / 4;
  floats const zero = all<floats>(0.0F);
  for (int i = 0; i < quarter; ++i) {
    int at[4];
    for (int r = 0; r < 4; ++r) at[r] = i + r * quarter < count ? i + r * quarter : i;
    T const* const row[4] = {rows[at[0]], rows[at[1]], rows[at[2]], rows[at[3]]};
    for (int r = 0; r < 4; ++r)
      fetch_ahead(rows, at[r], (r + 1) * quarter < count ? (r + 1) * quarter : count, dim);
    floats sum[4] = {zero, zero, zero, zero};
    for (int c = 0; c < whole; c += lanes<floats>) add_products(row, c, load<floats>(other + c), sum);
    if (whole < dim) {
      T rest[4][lanes<floats>] = {};
      T const* const rests[4] = {rest[0], rest[1], rest[2], rest[3]};
      for (int r = 0; r < 4; ++r)
        std::memcpy(rest[r], row[r] + whole, static_cast<std::size_t>(dim - whole) * sizeof(T));
      add_products(rests, 0, load_first<floats>(other + whole, dim - whole), sum);
    }
    float of_four[4];
    store(of_four, totals(sum[0], sum[1], sum[2], sum[3]));
    for (int r = 3; r >= 0; --r) out[at[r]] = of_four[r];
  }
}
