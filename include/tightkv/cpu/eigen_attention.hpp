// SPDX-License-Identifier: Apache-2.0
/// The attention of many queries with Eigen's matrix products in place of our tiles: for `eigen_cpu`.
///
/// Eigen by itself is slower than our tiles, as `README.md` beside this file says; this is for a library behind Eigen
/// (`EIGEN_USE_BLAS`), which we have not tried. Eigen's own products are as fast as the instruction set that the
/// translation unit is compiled for, and Eigen takes its scratch from the C library. With OpenMP it starts threads of
/// its own: define `EIGEN_DONT_PARALLELIZE` where the executor has some already.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

/// The keys of one head as floats, row after row. What each member does is what it does in `packed_keys`.
class eigen_keys {
 public:
  template <class V>
  eigen_keys(V const& view, int tokens, instruction_set set, std::pmr::memory_resource* memory)
      : tokens_(tokens),
        dim_(view.keys.head_dim()),
        set_(set),
        rows_(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(dim_), memory),
        finite_(static_cast<std::size_t>(padded()), memory) {
    std::fill(finite_.begin() + tokens, finite_.end(), 0);
  }

  int dim() const noexcept { return dim_; }
  int count() const noexcept { return (tokens_ + packed_at_once - 1) / packed_at_once; }
  int padded() const noexcept { return whole_vectors(tokens_); }
  std::int32_t const* finite() const noexcept { return finite_.data(); }
  /// Eigen brings the keys into its own order for every product, so products are large, whatever the cache holds.
  int queries_at_once() const noexcept { return most_queries_at_once; }

  template <class P>
  void pack(P const& keys, int head, int piece, std::pmr::memory_resource* memory) {
    int const begin = piece * packed_at_once;
    int const end = std::min(begin + packed_at_once, tokens_);
    row_table<P> table(memory);
    auto const* const at = table.of(keys.head(head), dim_, begin, end);
    float* const to = rows_.data() + std::ptrdiff_t{begin} * dim_;
    with_vectors(set_, [&](auto set) {
      unpack_rows(set, at, end - begin, dim_, to, dim_);
      mark_finite(set, at, end - begin, dim_, finite_.data() + begin);
    });
    for (int j = begin; j < end; ++j) {
      if (finite_.data()[j] == 0) std::fill_n(rows_.data() + std::ptrdiff_t{j} * dim_, dim_, 0.0F);
    }
  }

  template <class V>
  bool write_query(V const& view, int q, int i, float* out) const {
    return scaled_query(view, set_, q, i, out);
  }

  template <class V>
  void multiply(V const&, float const* queries, int count, int visible, float* logits) const {
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    int const seen = std::min(visible + count - 1, tokens_);
    Eigen::Map<matrix const> const q(queries, count, dim_);
    Eigen::Map<matrix const> const k(rows_.data(), seen, dim_);
    Eigen::Map<matrix, 0, Eigen::OuterStride<>> products(logits, count, seen, Eigen::OuterStride<>(padded()));
    products.noalias() = q * k.transpose();
  }

 private:
  static constexpr int packed_at_once = 64;  // tokens

  int tokens_;
  int dim_;
  instruction_set set_;
  scratch<float> rows_;
  scratch<std::int32_t> finite_;
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
