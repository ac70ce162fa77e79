// SPDX-License-Identifier: Apache-2.0

/// to[c] = scale * row[c]. Returns whether all are finite.
template <class T>
inline bool scale_row(vectors, T const* row, int dim, float scale, float* to) {
  floats poison = all<floats>(0.0F);
  int c = 0;
  for (; c + lanes<floats> <= dim; c += lanes<floats>) {
    floats const x = load<floats>(row + c) * all<floats>(scale);
    store(to + c, x);
    poison = fma(x, all<floats>(0.0F), poison);
  }
  if (c < dim) {
    floats const x = load_first<floats>(row + c, dim - c) * all<floats>(scale);
    store_first(to + c, x, dim - c);
    poison = fma(x, all<floats>(0.0F), poison);
  }
  return bits(is_nan(poison)) == 0;
}

/// 2^x to 4 ulp, for x below 128; 0 from -127 down.
TIGHTKV_INLINE floats two_to(floats x) {
  // As unsigned numbers, the bits of floats below -127 are the greatest. To compare floats would take units that multiply.
  x = as_floats(min(as_uints(x), as_uints(all<floats>(-127.0F))));
  floats const shift = all<floats>(12582912.0F);  // adding 1.5 * 2^23 leaves round(x) in the low bits
  floats const shifted = x + shift;
  floats const r = x - (shifted - shift);
  floats p = all<floats>(1.3381302124e-3F);  // through 2^r at Chebyshev's points: 2.1e-7
  p = fma(p, r, all<floats>(9.6663683653e-3F));
  p = fma(p, r, all<floats>(5.5503811687e-2F));
  p = fma(p, r, all<floats>(2.4022349715e-1F));
  p = fma(p, r, all<floats>(6.9314718246e-1F));
  p = fma(p, r, all<floats>(1.0F));
  return as_floats(as_uints(p) + (as_uints(shifted) << 23));
}

/// finite[j] = all bits where row j holds finite values alone, else none.
template <class T>
inline void mark_finite(vectors, T const* const* rows, int count, int dim, std::int32_t* finite) {
  int const whole = dim / lanes<floats> * lanes<floats>;
  floats const zero = all<floats>(0.0F);
  for (int j = 0; j < count; ++j) {
    floats poison = zero;
    for (int c = 0; c < whole; c += lanes<floats>) poison = fma(load<floats>(rows[j] + c), zero, poison);
    if (whole < dim) poison = fma(load_first<floats>(rows[j] + whole, dim - whole), zero, poison);
    finite[j] = bits(is_nan(poison)) == 0 ? -1 : 0;
  }
}

/// panel[c][q] = channel c of query q, for `count` queries, a multiple of 4, side by side.
inline void pack_queries(vectors, float const* queries, int count, int dim, float* panel) {
  for (int q = 0; q < count; q += 4) {
    float const* const row = queries + static_cast<std::ptrdiff_t>(q) * dim;
    int c = 0;
    for (; c + 4 <= dim; c += 4) {
      four x[4];
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) load_to(x[r], row + r * dim + c);
      transpose(x[0], x[1], x[2], x[3]);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) store(panel + (c + i) * count + q, x[i]);
    }
    for (; c < dim; ++c) {
      for (int r = 0; r < 4; ++r) panel[c * count + q + r] = row[r * dim + c];
    }
  }
}

/// The logits of a panel of queries, each less its query's reference, and what tells whether they are ordinary: of each
/// query the greatest, if that is positive, and the sum.
class seen_logits {
 public:
  seen_logits(vectors, float const* reference, int width) : reference_(reference), width_(width) {
    for (int q = 0; q < width; ++q) {
      most_[q] = 0;
      sum_[q] = 0.0F;
    }
  }

  /// Writes the next ones.
  template <int Rows, int Vectors>
  TIGHTKV_INLINE void take(floats const (&logits)[Rows][Vectors], float* to) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      int const at = v * lanes<floats>;
      floats const reference = load<floats>(reference_ + at);
      ints most = load<ints>(most_ + at);
      floats sum = load<floats>(sum_ + at);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        floats const logit = logits[r][v] - reference;
        most = max(as_ints(logit), most);  // bits of positive floats are in the order of the floats
        sum = sum + logit;
        store(to + (r * Vectors + v) * lanes<floats>, logit);
      }
      store(most_ + at, most);
      store(sum_ + at, sum);
    }
  }

  /// As a rule this is right, and `false` always where one is not.
  bool are_finite() const {
    floats zero = all<floats>(0.0F);
    for (int at = 0; at < width_; at += lanes<floats>) zero = fma(load<floats>(sum_ + at), all<floats>(0.0F), zero);
    return bits(is_nan(zero)) == 0;
  }
  bool are_below(float limit) const {
    ints most = all<ints>(0);
    for (int at = 0; at < width_; at += lanes<floats>) most = max(load<ints>(most_ + at), most);
    return bits(greater(most, as_ints(all<floats>(limit)))) == 0;
  }

 private:
  static constexpr int most_queries = 64;

  float const* reference_;
  int width_;
  alignas(64) std::int32_t most_[most_queries];
  alignas(64) float sum_[most_queries];
};

inline seen_logits seen_logits_by(vectors set, float const* reference, int width) { return {set, reference, width}; }

/// The same for products that were made elsewhere, in place.
template <int Vectors>
inline void see_logits(vectors, float* products, int count, seen_logits& seen) {
  for (int j = 0; j < count; ++j, products += Vectors * lanes<floats>) {
    floats x[1][Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) x[0][v] = load<floats>(products + v * lanes<floats>);
    seen.take(x, products);
  }
}

/// What a tile of products needs besides its keys and queries: keys and logits that come next are fetched meanwhile.
struct upcoming {
  float const* keys;
  float const* logits;
};

/// logits[r][q] = key r times query q of a panel, less its reference, for `panel_keys` keys, side by side: the
/// innermost product.
struct float_products {
  int dim;

  template <int Vectors>
  TIGHTKV_INLINE void multiply(float const* keys, float const* panel, upcoming next, float* logits,
                               seen_logits& seen) const {
    constexpr int rows = vectors::panel_keys;
    floats sum[rows][Vectors];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] = all<floats>(0.0F);
    }
    std::ptrdiff_t const fetched = (rows * Vectors * lanes<floats> + dim - 1) / dim;
    for (int c = 0; c < dim; ++c) {
      floats query[Vectors];
      __builtin_prefetch(next.keys + c * rows, 0, 2);
      __builtin_prefetch(next.logits + c * fetched, 0, 2);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) query[v] = load<floats>(panel + (c * Vectors + v) * lanes<floats>);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        floats const key = all<floats>(keys[r * dim + c]);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[r][v] = fma(key, query[v], sum[r][v]);
      }
    }
    seen.take(sum, logits);
  }
};

inline float_products float_products_of(vectors, int dim) { return {dim}; }

/// The same for `count` keys, a multiple of `panel_keys`. As many will be needed
/// next, up to `last`.
template <int Vectors, class Products>
inline void multiply_keys(vectors, Products const& products, float const* keys, int count, float const* last,
                          float const* panel, float* logits, seen_logits& seen) {
  std::ptrdiff_t const step = std::ptrdiff_t{vectors::panel_keys} * products.dim;
  float const* const end = keys + std::ptrdiff_t{count} * products.dim;
  upcoming next{end, logits + std::ptrdiff_t{count} * Vectors * lanes<floats>};
  for (; keys < end; keys += step) {
    products.template multiply<Vectors>(keys, panel, next, logits, seen);
    logits += vectors::panel_keys * Vectors * lanes<floats>;
    if (last - next.keys <= step) continue;
    next.keys += step;
    next.logits += vectors::panel_keys * Vectors * lanes<floats>;
  }
}

/// Logits of `count` keys and `width` queries that do not count, of products that are not finite or of keys that a query
/// does not see, become -inf. most[q] = the greatest of the others. The first of the keys is the head's key `first`.
inline void mask_logits(vectors, float* x, int first, int count, int width, std::int32_t const* visible, float* most) {
  floats const masked = all<floats>(-__builtin_inff());
  for (int q = 0; q < width; q += lanes<floats>) {
    ints const seen = load<ints>(visible + q);
    floats greatest = masked;
    for (int j = 0; j < count; ++j) {
      float* const at = x + j * width + q;
      floats const logit = load<floats>(at);
      auto const counts = both(less(logit, all<floats>(__builtin_inff())), greater(seen, all<ints>(first + j)));
      floats const kept = where(counts, logit, masked);
      greatest = max(kept, greatest);
      store(at, kept);
    }
    store(most + q, greatest);
  }
}

/// x[j][q] = x[j][q] * factor[q] - less[q].
inline void adjust_keys(vectors, float* x, int count, int width, float const* factor, float const* less) {
  for (int j = 0; j < count; ++j, x += width) {
    for (int q = 0; q < width; q += lanes<floats>)
      store(x + q, load<floats>(x + q) * load<floats>(factor + q) - load<floats>(less + q));
  }
}

/// x[j][q] = 2^x[j][q]; sum[q] = their sum.
inline void exponentials_of_keys(vectors, float* x, int count, int width, float* sum) {
  for (int q = 0; q < width; q += lanes<floats>) {
    floats part = all<floats>(0.0F);
    for (int j = 0; j < count; ++j) {
      floats const e = two_to(load<floats>(x + j * width + q));
      store(x + j * width + q, e);
      part = part + e;
    }
    store(sum + q, part);
  }
}

/// total[j] += the sum over q of factor[q] * x[j][q], for `count` keys, a multiple of 16.
inline void add_weighted(vectors, float const* x, int count, int width, float const* factor, double* total) {
  constexpr int at_once = 4 * vectors::panel_vectors;  // keys whose sums registers have room for
  for (int j = 0; j < count; j += at_once, x += at_once * width) {
    floats sum[at_once];
#pragma GCC unroll 16
    for (int k = 0; k < at_once; ++k) sum[k] = all<floats>(0.0F);
    for (int q = 0; q < width; q += lanes<floats>) {
      floats const weight = load<floats>(factor + q);
#pragma GCC unroll 16
      for (int k = 0; k < at_once; ++k) sum[k] = fma(weight, load<floats>(x + k * width + q), sum[k]);
    }
    float of_key[at_once];
    store_totals(sum, of_key);
    for (int k = 0; k < at_once; ++k) total[j + k] += static_cast<double>(of_key[k]);
  }
}
