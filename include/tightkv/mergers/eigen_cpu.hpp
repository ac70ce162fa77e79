// SPDX-License-Identifier: Apache-2.0
/// `eigen_cpu`: the CPU with Eigen's matrix products.
#pragma once

#include <algorithm>
#include <concepts>

#include <tightkv/core/executor.hpp>
#include <tightkv/mergers/dense.hpp>
#include <tightkv/ops/gram_update.hpp>

namespace tightkv {

inline namespace TIGHTKV_KERNELS_FOR {

/// As `basic_cpu`, but products of matrices are Eigen's: `gram_update`, and with cpu/eigen_attention.hpp attention.
template <class ForEachIndex = serial>
class basic_eigen_cpu : public basic_cpu<ForEachIndex> {
 public:
  static constexpr int tile = 256;  // tokens; 8 heads of 128 channels then fit into a megabyte or two of cache

  using basic_cpu<ForEachIndex>::basic_cpu;
};
template <class F, class... Memory>
basic_eigen_cpu(F, Memory...) -> basic_eigen_cpu<F>;

/// The calling thread, with Eigen's products of matrices.
///
///     keys.add(tightkv::eigen_cpu{}, cached_keys);
using eigen_cpu = basic_eigen_cpu<>;

}  // namespace TIGHTKV_KERNELS_FOR

struct attention_mass_fn;
struct window_attention_fn;

namespace detail {

/// Operations that `basic_eigen_cpu` has kernels of its own for, here or in cpu/eigen_attention.hpp.
template <class Op>
concept multiplies_with_eigen =
    std::same_as<Op, gram_update_fn> || std::same_as<Op, attention_mass_fn> || std::same_as<Op, window_attention_fn>;

}  // namespace detail

/// All else is done as `basic_cpu` does it.
template <class Op, class F>
requires(!detail::multiplies_with_eigen<Op>) struct kernel<Op, basic_eigen_cpu<F>> : kernel<Op, basic_cpu<F>> {
};

/// Tiles of 256 tokens through Eigen's symmetric rank update, in double, on the calling thread. Differs from the plain
/// kernel in the order of its sums only: by a few parts in 1e16 of the sum of the products' magnitudes.
template <class F>
struct kernel<gram_update_fn, basic_eigen_cpu<F>> {
  template <class P>
  static void run(basic_eigen_cpu<F> const&, P const& rows, head_range const& group, gram_view<> const& out) {
    int const size = out.products.rows;
    int const tokens = rows.tokens(group.first);
    detail::dense columns(size, std::clamp(tokens - group.skip, 0, basic_eigen_cpu<F>::tile));
    Eigen::Index filled = 0;
    auto const add = [&] {
      if (filled < columns.cols()) columns.conservativeResize(size, filled);
      if (filled > 0) detail::rank_update(out.products, columns);
      filled = 0;
    };
    for (int t = group.skip; t < tokens; ++t) {
      double* const x = columns.data() + filled * size;
      if (!detail::read_group(rows, group, t, x)) {
        ++out.counted->not_finite;
        continue;
      }
      ++out.counted->added;
      for (int a = 0; a < size; ++a) out.sums[a] += x[a];
      if (++filled == basic_eigen_cpu<F>::tile) add();
    }
    add();
    detail::mirror(out.products);
  }
};

static_assert(executor<eigen_cpu>);

}  // namespace tightkv
