// SPDX-License-Identifier: Apache-2.0
/// `larger_of(ex, in, out)`: each score of `out` becomes the larger of the two.
#pragma once

#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>

namespace tightkv {

/// out(h, t) = max(in(h, t), out(h, t)); NaN where either is.
struct larger_of_fn {
  template <executor E>
  void operator()(E const& ex, matrix_view<float const, typename E::memory> in, scores_view<E> out) const {
    detail::expects(in.rows == out.rows && in.cols >= out.cols, "larger_of", "both must have the same shape", "rows",
                    in.rows, "cols", in.cols);
    kernel<larger_of_fn, E>::run(ex, in, out);
  }
};
inline constexpr larger_of_fn larger_of{};

template <class F>
struct kernel<larger_of_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, matrix_view<float const> in, matrix_view<float> out) {
    ex.for_each_index(out.rows, [&](int h) {
      for (int t = 0; t < out.cols; ++t) {
        if (!(in(h, t) <= out(h, t))) out(h, t) = out(h, t) != out(h, t) ? out(h, t) : in(h, t);
      }
    });
  }
};

template <class F>
struct kernel<larger_of_fn, basic_cpu<F>> : kernel<larger_of_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
