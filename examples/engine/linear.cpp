// SPDX-License-Identifier: Apache-2.0
#include "linear.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <type_traits>

namespace engine {
namespace {

using rows_of_floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The rows [first, first + count) of a matrix, as Eigen sees them.
template <class T>
auto rows_of(tightkv::matrix_view<T> const& m, int first, int count) {
  using matrix = std::conditional_t<std::is_const_v<T>, rows_of_floats const, rows_of_floats>;
  return Eigen::Map<matrix, 0, Eigen::OuterStride<>>(m.row(first), count, m.cols, Eigen::OuterStride<>(m.stride));
}

int pieces_of(int n, int size) { return (n + size - 1) / size; }

// Few rows: what counts is reading the weights. A piece of them stays in the cache while each row is multiplied.
void by_rows(thread_pool& pool, tightkv::matrix_view<float const> weight, tightkv::matrix_view<float const> in,
             tightkv::matrix_view<float> out) {
  int const piece = 32;
  pool.run(pieces_of(out.cols, piece), [&](int task) {
    int const first = task * piece;
    int const count = std::min(piece, out.cols - first);
    auto const w = rows_of(weight, first, count);
    for (int r = 0; r < in.rows; ++r) {
      Eigen::Map<Eigen::VectorXf const> const x(in.row(r), in.cols);
      Eigen::Map<Eigen::VectorXf>(out.row(r) + first, count).noalias() = w * x;
    }
  });
}

// Many rows: Eigen's blocked product, on tiles of the result.
void by_tiles(thread_pool& pool, tightkv::matrix_view<float const> weight, tightkv::matrix_view<float const> in,
              tightkv::matrix_view<float> out) {
  int const tall = 512;
  int const wide = std::max(192, pieces_of(out.cols, 2 * pool.threads()));
  int const across = pieces_of(out.cols, wide);
  pool.run(pieces_of(out.rows, tall) * across, [&](int task) {
    int const top = task / across * tall;
    int const left = task % across * wide;
    int const height = std::min(tall, out.rows - top);
    int const width = std::min(wide, out.cols - left);
    rows_of(out, top, height).middleCols(left, width).noalias() =
        rows_of(in, top, height) * rows_of(weight, left, width).transpose();
  });
}

}  // namespace

void linear(thread_pool& pool, tightkv::matrix<float> const& weight, tightkv::matrix_view<float const> in,
            tightkv::matrix_view<float> out) {
  auto const w = weight.view();
  tightkv::detail::expects(in.cols == w.cols && out.cols == w.rows && in.rows == out.rows, "engine::linear",
                           "the shapes must fit together");
  int const few = 6;
  if (in.rows <= few) {
    by_rows(pool, w, in, out);
  } else {
    by_tiles(pool, w, in, out);
  }
}

}  // namespace engine
