// SPDX-License-Identifier: Apache-2.0
/// `compact(ex, plan, planes...)`: moves the kept rows to the front of their heads, in place.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>

#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/view/plane.hpp>

namespace tightkv {
namespace detail {

/// The plan must be about rows like these, and its kept tokens must ascend within each head.
template <class P>
void check_plan(char const* who, plan_shape const& p, P const& rows) {
  expects(p.heads() == rows.heads(), who, "the plan is for another number of heads", "plan", p.heads(), "rows",
          rows.heads());
  for (int h = 0; h < p.heads(); ++h) {
    expects(p.before(h) == rows.tokens(h), who, "the plan is for another number of tokens", "plan", p.before(h), "rows",
            rows.tokens(h));
  }
}

/// A plan that is not on the host is trusted.
template <class Memory>
void check_ascending(char const*, basic_plan<Memory> const&) {}

inline void check_ascending(char const* who, plan const& p, int head) {
  int previous = -1;
  for (int const token : p.kept(head)) {
    if (token <= previous || token >= p.before(head)) {
      refuse(who, "kept tokens must ascend within the head",
             {{"head", head}, {"token", token}, {"after", previous}, {"tokens", p.before(head)}});
    }
    previous = token;
  }
}
inline void check_ascending(char const* who, plan const& p) {
  for (int h = 0; h < p.heads(); ++h) check_ascending(who, p, h);
}

template <class From, class To>
void move_row(From const& from, To const& to) {
  for (int d = 0; d < from.size; ++d) to[d] = from[d];
}
template <class From, class To>
void move_row(row<From> const& from, row<To> const& to) {
  std::memcpy(to.data, from.data, static_cast<std::size_t>(from.size) * sizeof(To));  // rows of one head do not overlap
}

}  // namespace detail

/// Row j of head h becomes row `plan.kept(h)[j]`, in each of the planes: keys, values, scales, positions, a method's
/// own state. Rows move as bytes, so planes of any element type will do, and different planes may have different ones.
/// Rows past the new length keep whatever they held. Returns the new lengths.
///
///     auto const lengths = tightkv::compact(ex, plan, keys, values);
///
/// All planes are checked before anything moves. Cost: reads and writes only the kept rows that move.
struct compact_fn {
  template <executor E, writable_plane... P>
  requires(reachable_from<P, E>&&...) std::span<int const>
  operator()(E const& ex, basic_plan<typename E::memory> const& p, P const&... rows) const {
    detail::check_ascending("compact", p);
    (detail::check_plan("compact", p, rows), ...);
    kernel<compact_fn, E>::run(ex, p, rows...);
    return p.lengths();
  }
};
inline constexpr compact_fn compact{};

template <class F>
struct kernel<compact_fn, basic_plain_cpu<F>> {
  template <class... P>
  static void run(basic_plain_cpu<F> const& ex, plan const& p, P const&... rows) {
    (move(ex, p, rows), ...);
  }

 private:
  template <class P>
  static void move(basic_plain_cpu<F> const& ex, plan const& p, P const& rows) {
    ex.for_each_index(p.heads(), [&](int h) {
      auto const head = rows.head(h);
      int to = 0;
      for (int const from : p.kept(h)) {
        if (from != to) detail::move_row(head[from], head[to]);
        ++to;
      }
    });
  }
};

}  // namespace tightkv

#include <tightkv/cpu/compact.hpp>  // the fast kernel
