// SPDX-License-Identifier: Apache-2.0
/// Which token of the sequence each row of a cache is, however often the cache was compacted.
#pragma once

#include <cstddef>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/core/matrix.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/ops/number_tokens.hpp>
#include <tightkv/view/kv_view.hpp>
#include <tightkv/view/layouts.hpp>

namespace tightkv {
namespace detail {

/// A matrix of state, heads x rows, as a plane whose rows can be moved. What moves is four bytes, whatever they mean.
template <class T, class Memory>
auto rows_of_state(matrix<T, Memory>& m) {
  static_assert(sizeof(T) == sizeof(float));
  auto const v = m.view();
  return hnd(reinterpret_cast<float*>(v.data), {.heads = v.rows, .tokens = v.cols, .head_dim = 1}, Memory{});
}

}  // namespace detail

/// Caller-owned state of one (layer, sequence), or of a batch; what it is made of lies where the cache lies.
///
///     numbers.observe(ex, view);   // after rows were appended
///     numbers.apply(ex, plan);     // after the cache was compacted
template <class Memory = host_memory>
class row_numbers {
 public:
  /// Rows of each head that were there at the last call.
  std::span<int const> known() const noexcept { return known_; }
  /// Tokens that have come in all, evicted ones included.
  std::span<int const> arrived() const noexcept { return arrived_; }
  matrix_view<int const, Memory> view() const noexcept { return numbers_.view(); }

  /// Refuses a view that is not the one seen before, grown.
  template <class V>
  void check(char const* who, V const& view) const {
    detail::expects(known_.empty() || static_cast<int>(known_.size()) == view.heads(), who,
                    "the number of heads has changed", "heads", view.heads(), "before", known_.size());
    for (int h = 0; h < view.heads(); ++h) {
      detail::expects(view.tokens(h) >= known(h), who, "rows were removed without apply()", "rows", view.tokens(h),
                      "known", known(h));
    }
  }
  int known(int head) const noexcept { return known_.empty() ? 0 : known_[static_cast<std::size_t>(head)]; }

  /// Numbers the rows that were appended since the last call.
  template <executor E, class V>
  requires reachable_from<V, E>
  void observe(E const& ex, V const& view) {
    check("row_numbers", view);
    grow(ex, numbers_, view.heads(), longest(view.keys));
    auto const heads = static_cast<std::size_t>(view.heads());
    known_.resize(heads);
    arrived_.resize(heads);
    std::pmr::vector<token_range> fresh(ex.resource());
    for (int h = 0; h < view.heads(); ++h) fresh.push_back({known(h), view.tokens(h)});
    number_tokens(ex, {.ranges = fresh, .first = arrived_}, numbers_.view());
    for (std::size_t h = 0; h < heads; ++h) {
      arrived_[h] += fresh[h].size();
      known_[h] = fresh[h].end;
    }
  }

  /// Follows the rows, with any further matrix of state; to be called with every plan the cache was compacted by.
  template <executor E, class... T>
  void apply(E const& ex, basic_plan<Memory> const& p, matrix<T, Memory>&... with) {
    detail::expects(p.heads() == static_cast<int>(known_.size()), "row_numbers",
                    "the plan is for another number of heads", "plan", p.heads(), "rows", known_.size());
    for (int h = 0; h < p.heads(); ++h) {
      detail::expects(p.before(h) == known(h), "row_numbers", "the plan is for another number of tokens", "plan",
                      p.before(h), "rows", known(h));
    }
    if (p.heads() == 0) return;
    kernel<compact_fn, E>::run(ex, p, detail::rows_of_state(numbers_), detail::rows_of_state(with)...);
    known_.assign(p.lengths().begin(), p.lengths().end());
  }

 private:
  matrix<int, Memory> numbers_;
  std::vector<int> known_;
  std::vector<int> arrived_;
};

}  // namespace tightkv
