// SPDX-License-Identifier: Apache-2.0
/// Gathering at the speed of a copy.
#pragma once

#include <algorithm>
#include <span>

#include <tightkv/cpu/move_rows.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/ops/gather.hpp>

namespace tightkv {

template <class F>
struct kernel<gather_fn, basic_cpu<F>> {
  template <class From, class To>
  static void run(basic_cpu<F> const& ex, plan const& p, From const& from, To const& to) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<gather_fn, basic_plain_cpu<F>>::run(ex, p, from, to);
    }
    if constexpr (detail::has_whole_rows<From> && detail::has_whole_rows<To>) {
      detail::row_slices const slices(p.heads(), row_bytes(from));
      ex.for_each_index(p.heads() * slices.count, [&](int i) {
        int const h = i / slices.count;
        detail::move_rows(ex.instructions(), from.head(h), p.kept(h), to.head(h), 0, slices[i % slices.count]);
      });
    } else {
      kernel<gather_fn, basic_plain_cpu<F>>::run(ex, p, from, to);
    }
  }
};

}  // namespace tightkv
