// SPDX-License-Identifier: Apache-2.0
/// Compaction in place at the speed of a copy.
#pragma once

#include <span>

#include <tightkv/cpu/move_rows.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/ops/compact.hpp>

namespace tightkv {

template <class F>
struct kernel<compact_fn, basic_cpu<F>> {
  template <class... P>
  static void run(basic_cpu<F> const& ex, plan const& p, P const&... rows) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<compact_fn, basic_plain_cpu<F>>::run(ex, p, rows...);
    }
    (move(ex, p, rows), ...);
  }

 private:
  template <class P>
  static void move(basic_cpu<F> const& ex, plan const& p, P const& rows) {
    if constexpr (detail::has_whole_rows<P>) {
      detail::row_slices const slices(p.heads(), row_bytes(rows));
      ex.for_each_index(p.heads() * slices.count, [&](int i) {
        int const h = i / slices.count;
        detail::move_left(ex.instructions(), rows.head(h), p.kept(h), 0, slices[i % slices.count]);
      });
    } else {
      kernel<compact_fn, basic_plain_cpu<F>>::run(ex, p, rows);  // values apart from each other: one at a time
    }
  }
};

}  // namespace tightkv
