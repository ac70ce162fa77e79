// SPDX-License-Identifier: Apache-2.0
/// `eigen_cpu`: the CPU with Eigen's matrix products.
#pragma once

#include <algorithm>

#include <tightkv/core/executor.hpp>
#include <tightkv/mergers/dense.hpp>
#include <tightkv/ops/gram_update.hpp>

namespace tightkv {

/// As `cpu`, for `gram_update` alone: tiles of 256 tokens through Eigen's symmetric rank update, in double. Differs
/// from the plain kernel in the order of its sums only: by a few parts in 1e16 of the sum of the products' magnitudes.
///
///     keys.add(tightkv::eigen_cpu{}, cached_keys);
class eigen_cpu : public basic_cpu<> {
 public:
  static constexpr int tile = 256;  // tokens; 8 heads of 128 channels then fit into a megabyte or two of cache

  using basic_cpu::basic_cpu;
};

template <>
struct kernel<gram_update_fn, eigen_cpu> {
  template <class P>
  static void run(eigen_cpu const&, P const& rows, head_range const& group, gram_view<> const& out) {
    int const size = out.products.rows;
    int const tokens = rows.tokens(group.first);
    detail::dense columns(size, std::clamp(tokens - group.skip, 0, eigen_cpu::tile));
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
      if (++filled == eigen_cpu::tile) add();
    }
    add();
    detail::mirror(out.products);
  }
};

static_assert(executor<eigen_cpu>);

}  // namespace tightkv
