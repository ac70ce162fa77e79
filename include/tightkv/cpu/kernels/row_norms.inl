// SPDX-License-Identifier: Apache-2.0

/// Fetches the row that a stream at row i will come to soon, unless many rows before it lie in one piece with it: then
/// the machine fetches it by itself. It takes a while to begin with that, so short pieces are fetched as a whole.
template <class T>
TIGHTKV_INLINE void fetch_ahead(T const* const* rows, int i, int end, int dim) {
  constexpr int ahead = 8;
  constexpr int many = 16;
  int const coming = i + ahead;
  if (coming >= end) return;
  auto const bytes = static_cast<std::size_t>(dim) * sizeof(T);
  auto const* const next = reinterpret_cast<char const*>(rows[coming]);
  if (coming >= many) {
    auto const before = reinterpret_cast<std::uintptr_t>(rows[coming - many]);
    if (reinterpret_cast<std::uintptr_t>(next) == before + many * bytes) return;
  }
  for (std::size_t b = 0; b < bytes; b += 64) __builtin_prefetch(next + b, 0, 2);
}

/// The sums of squares of four rows.
template <class T>
TIGHTKV_INLINE four sums_of_squares(T const* a, T const* b, T const* c, T const* d, int dim) {
  floats sum_a = all<floats>(0.0F);
  floats sum_b = sum_a;
  floats sum_c = sum_a;
  floats sum_d = sum_a;
  int i = 0;
  for (; i + lanes<floats> <= dim; i += lanes<floats>) {
    floats const x_a = load<floats>(a + i);
    floats const x_b = load<floats>(b + i);
    floats const x_c = load<floats>(c + i);
    floats const x_d = load<floats>(d + i);
    sum_a = fma(x_a, x_a, sum_a);
    sum_b = fma(x_b, x_b, sum_b);
    sum_c = fma(x_c, x_c, sum_c);
    sum_d = fma(x_d, x_d, sum_d);
  }
  if (i < dim) {
    floats const x_a = load_first<floats>(a + i, dim - i);
    floats const x_b = load_first<floats>(b + i, dim - i);
    floats const x_c = load_first<floats>(c + i, dim - i);
    floats const x_d = load_first<floats>(d + i, dim - i);
    sum_a = fma(x_a, x_a, sum_a);
    sum_b = fma(x_b, x_b, sum_b);
    sum_c = fma(x_c, x_c, sum_c);
    sum_d = fma(x_d, x_d, sum_d);
  }
  return totals(sum_a, sum_b, sum_c, sum_d);
}

/// out[i] = the sum of squares of row i. Four streams at a time, each a quarter of the rows: a core waits for one
/// stream longer than for several.
template <class T>
inline void sums_of_squares_of(vectors, T const* const* rows, int count, int dim, float* out) {
  int const quarter = (count + 3) / 4;
  for (int i = 0; i < quarter; ++i) {
    int const b = i + quarter < count ? i + quarter : i;
    int const c = i + 2 * quarter < count ? i + 2 * quarter : i;
    int const d = i + 3 * quarter < count ? i + 3 * quarter : i;
    fetch_ahead(rows, i, quarter, dim);
    fetch_ahead(rows, b, 2 * quarter < count ? 2 * quarter : count, dim);
    fetch_ahead(rows, c, 3 * quarter < count ? 3 * quarter : count, dim);
    fetch_ahead(rows, d, count, dim);
    four const sums = sums_of_squares(rows[i], rows[b], rows[c], rows[d], dim);
    out[d] = sums[3];
    out[c] = sums[2];
    out[b] = sums[1];
    out[i] = sums[0];
  }
}

/// x[i] = factor * the root of x[i]. Returns whether all are finite.
inline bool scaled_roots_of(vectors, float* x, int count, float factor) {
  floats poison = all<floats>(0.0F);
  int i = 0;
  for (; i + lanes<floats> <= count; i += lanes<floats>) {
    floats const y = all<floats>(factor) * sqrt(load<floats>(x + i));
    store(x + i, y);
    poison = fma(y, all<floats>(0.0F), poison);
  }
  if (i < count) {
    floats const y = all<floats>(factor) * sqrt(load_first<floats>(x + i, count - i));
    store_first(x + i, y, count - i);
    poison = fma(y, all<floats>(0.0F), poison);
  }
  return bits(is_nan(poison)) == 0;
}
