// SPDX-License-Identifier: Apache-2.0
/// `gram_update(ex, rows, group, out)`: adds the products X^T X of the rows of a group of heads to what `out` holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <vector>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/view/plane.hpp>

namespace tightkv {

/// Neighbouring heads whose rows are looked at side by side. The first `skip` tokens of a sequence draw so much
/// attention, and have such long rows, that one may want to leave them out.
struct head_range {
  int first = 0;
  int heads = 1;
  int skip = 0;  // tokens
};

/// What a Gram matrix was made from: tokens that counted, and tokens left out because a value was not finite.
struct rows_counted {
  std::int64_t added = 0;
  std::int64_t not_finite = 0;

  friend bool operator==(rows_counted const&, rows_counted const&) = default;
};

/// Where the sums are kept: products of channels (size x size, symmetric), the channels themselves (size), and of how
/// many tokens they are.
template <class Memory = host_memory>
struct gram_view {
  using memory = Memory;

  matrix_view<double, Memory> products;
  double* sums = nullptr;
  rows_counted* counted = nullptr;
};

/// out.products(a, b) += sum over tokens of x[a] x[b], out.sums[a] += sum over tokens of x[a], where x is the rows of
/// the group's heads at one token, side by side: head i's channel c is x[i * head_dim + c].
///
///     tightkv::gram_update(ex, keys, {.first = 0, .heads = 4, .skip = 4}, sums);   // sums.products is 4 head_dim square
///
/// Nothing comes back to the caller but through `out`, so that an executor with a stream need not wait.
///
/// Sums are in double, where the product of two floats is exact, in the order of the tokens: `plain_cpu`. `eigen_cpu`
/// does the same several times faster. `cpu` is faster still: it sums 128 tokens at a time in float, and those sums in
/// double, which is off by 128 roundings of a float (8e-6) at most, and in practice by a thirtieth of that, of the sum
/// of the products' magnitudes. A token at which a value of the group is not finite is left out, and counted as such.
/// Cost: tokens x size x (size + 1) / 2 multiply-adds: of the symmetric matrix one half is computed.
struct gram_update_fn {
  template <executor E, readable_plane P>
  requires reachable_from<P, E>
  void operator()(E const& ex, P const& rows, head_range const& group, gram_view<typename E::memory> const& out) const {
    bool const inside = group.first >= 0 && group.heads >= 1 && group.first <= rows.heads() - group.heads;
    if (!inside) {
      detail::refuse("gram_update", "the group must lie in the plane",
                     {{"first", group.first}, {"heads", group.heads}, {"plane", rows.heads()}});
    }
    detail::expects(group.skip >= 0, "gram_update", "skip must not be negative", "skip", group.skip);
    auto const size = std::int64_t{group.heads} * rows.head_dim();
    detail::expects(out.products.rows == size && out.products.cols == size, "gram_update",
                    "the sums must be as wide as the group's rows", "sums", out.products.rows, "rows", size);
    detail::expects(out.products.data != nullptr && out.sums != nullptr && out.counted != nullptr, "gram_update",
                    "the sums must not be null");
    for (int h = group.first; h < group.first + group.heads; ++h) {
      detail::expects(rows.tokens(h) == rows.tokens(group.first), "gram_update",
                      "heads of a group must have the same number of tokens", "tokens", rows.tokens(h), "first",
                      rows.tokens(group.first));
    }
    kernel<gram_update_fn, E>::run(ex, rows, group, out);
  }
};
inline constexpr gram_update_fn gram_update{};

namespace detail {

/// Writes the group's rows at one token, side by side. Returns whether all of it is finite.
template <class P, class T>
bool read_group(P const& rows, head_range const& group, int token, T* out) {
  bool finite = true;
  for (int h = group.first; h < group.first + group.heads; ++h) {
    auto const r = rows.head(h)[token];
    for (int d = 0; d < r.size; ++d) {
      auto const x = static_cast<float>(r[d]);
      finite = finite && is_finite(x);
      *out++ = static_cast<T>(x);
    }
  }
  return finite;
}

/// The lower half becomes the upper one's mirror image.
inline void mirror(matrix_view<double> m) {
  for (int a = 0; a < m.rows; ++a) {
    for (int b = 0; b < a; ++b) m(a, b) = m(b, a);
  }
}

}  // namespace detail

template <class F>
struct kernel<gram_update_fn, basic_plain_cpu<F>> {
  template <class P>
  static void run(basic_plain_cpu<F> const& ex, P const& rows, head_range const& group, gram_view<> const& out) {
    int const size = out.products.rows;
    std::pmr::vector<double> x(static_cast<std::size_t>(size), ex.resource());
    for (int t = group.skip; t < rows.tokens(group.first); ++t) {
      if (!detail::read_group(rows, group, t, x.data())) {
        ++out.counted->not_finite;
        continue;
      }
      ++out.counted->added;
      for (int a = 0; a < size; ++a) {
        double const factor = x[static_cast<std::size_t>(a)];
        double* const products = out.products.row(a);
        out.sums[a] += factor;
        for (int b = a; b < size; ++b) products[b] += factor * x[static_cast<std::size_t>(b)];
      }
    }
    detail::mirror(out.products);
  }
};

}  // namespace tightkv

#include <tightkv/cpu/gram_update.hpp>  // the fast kernel
