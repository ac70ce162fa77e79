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
    (move(ex, p, rows), ...);
  }

 private:
  template <class P>
  static void move(basic_cpu<F> const& ex, plan const& p, P const& rows) {
    if constexpr (detail::has_whole_rows<P>) {
      detail::row_slices const slices(p.heads(), row_bytes(rows));
      ex.for_each_index(p.heads() * slices.count, [&](int i) {
        auto const head = rows.head(i / slices.count);
        auto const kept = p.kept(i / slices.count);
        int stay = 0;  // the first rows are where they belong
        while (stay < static_cast<int>(kept.size()) && kept[static_cast<std::size_t>(stay)] == stay) ++stay;
        detail::move_rows(head, kept.subspan(static_cast<std::size_t>(stay)), head, stay, slices[i % slices.count]);
      });
    } else {
      kernel<compact_fn, basic_plain_cpu<F>>::run(ex, p, rows);  // values apart from each other: one at a time
    }
  }
};

}  // namespace tightkv
