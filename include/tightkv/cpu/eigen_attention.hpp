// SPDX-License-Identifier: Apache-2.0
/// The attention of many queries with Eigen's matrix products in place of our tiles: for `eigen_cpu`.
///
/// Eigen by itself is slower than our tiles, as `README.md` beside this file says; this is for a library behind Eigen
/// (`EIGEN_USE_BLAS`), which we have not tried. Eigen's own products are as fast as the instruction set that the
/// translation unit is compiled for, and Eigen takes its scratch from the C library. With OpenMP it starts threads of
/// its own: define `EIGEN_DONT_PARALLELIZE` where the executor has some already.
#pragma once

#include <cstddef>
#include <memory_resource>
#include <span>

#include <Eigen/Core>

#include <tightkv/cpu/attention_mass.hpp>
#include <tightkv/cpu/products.hpp>
#include <tightkv/cpu/window_attention.hpp>
#include <tightkv/mergers/eigen_cpu.hpp>

namespace tightkv {
namespace detail {
inline namespace TIGHTKV_KERNELS_FOR {

/// The keys of one head as floats, multiplied by Eigen. What each member does is what it does in `key_rows`.
class eigen_keys : public key_rows {
 public:
  template <class V>
  eigen_keys(V const& view, int h, instruction_set set, std::pmr::memory_resource* memory)
      : key_rows(view, h, set, products::of_floats, memory) {}

  template <int Vectors, class V, class Set, class Seen>
  void multiply(Set set, V const&, int begin, int end, float const* panel, float* logits, Seen& seen) const {
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    constexpr int width = 16 * Vectors;
    Eigen::Map<matrix const> const keys(row(begin), end - begin, dim());
    Eigen::Map<matrix const> const queries(panel, dim(), width);
    Eigen::Map<matrix> products(logits, end - begin, width);
    products.noalias() = keys * queries;
    see_logits<Vectors>(set, logits, end - begin, seen);
  }

  template <class V>
  bool write_query(V const& view, int q, int i, float* out) const {
    return scaled_query(view, set(), q, i, out);
  }
};

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace detail

/// Within 4e-6 of each value, as `cpu` is. Few queries, as in a step of decoding, are multiplied where the keys lie.
template <class F>
struct kernel<attention_mass_fn, basic_eigen_cpu<F>> {
  template <class V>
  static void run(basic_eigen_cpu<F> const& ex, V const& view, std::span<int const> queries, matrix_view<float> out) {
    kernel<attention_mass_fn, basic_cpu<F>>::template run<detail::eigen_keys>(ex, view, queries, out);
  }
};

template <class F>
struct kernel<window_attention_fn, basic_eigen_cpu<F>> {
  template <class V>
  static void run(basic_eigen_cpu<F> const& ex, V const& view, int window, matrix_view<float> out) {
    kernel<window_attention_fn, basic_cpu<F>>::template run<detail::eigen_keys>(ex, view, window, out);
  }
};

}  // namespace tightkv
