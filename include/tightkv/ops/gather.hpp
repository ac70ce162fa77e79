// SPDX-License-Identifier: Apache-2.0
/// `gather(ex, plan, from, to)`: copies the kept rows elsewhere, and leaves the cache as it is.
#pragma once

#include <concepts>

#include <tightkv/ops/compact.hpp>

namespace tightkv {

/// Row j of head h of `to` becomes row `plan.kept(h)[j]` of `from`. The layouts may differ; the element type may not,
/// and the two must not overlap. `to` must have exactly the plan's new lengths.
struct gather_fn {
  template <executor E, kv_plane From, writable_plane To>
  requires reachable_from<From, E> && reachable_from<To, E> &&
      std::same_as<typename From::value_type, typename To::value_type>
  void operator()(E const& ex, basic_plan<typename E::memory> const& p, From const& from, To const& to) const {
    detail::check_ascending("gather", p);
    detail::check_plan("gather", p, from);
    detail::expects(to.heads() == p.heads() && to.head_dim() == from.head_dim(), "gather",
                    "source and destination must have the same heads and head_dim", "heads", to.heads(), "head_dim",
                    to.head_dim());
    for (int h = 0; h < p.heads(); ++h) {
      detail::expects(to.tokens(h) == p.after(h), "gather", "the destination must have the plan's new lengths",
                      "tokens", to.tokens(h), "kept", p.after(h));
    }
    kernel<gather_fn, E>::run(ex, p, from, to);
  }
};
inline constexpr gather_fn gather{};

template <class F>
struct kernel<gather_fn, basic_plain_cpu<F>> {
  template <class From, class To>
  static void run(basic_plain_cpu<F> const& ex, plan const& p, From const& from, To const& to) {
    ex.for_each_index(p.heads(), [&](int h) {
      auto const source = from.head(h);
      auto const destination = to.head(h);
      int j = 0;
      for (int const token : p.kept(h)) detail::move_row(source[token], destination[j++]);
    });
  }
};

}  // namespace tightkv

#include <tightkv/cpu/gather.hpp>  // the fast kernel
