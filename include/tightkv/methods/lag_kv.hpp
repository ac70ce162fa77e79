// SPDX-License-Identifier: Apache-2.0
/// LagKV: each partition keeps the tokens that differ most from the partition after it.
#pragma once

#include <vector>

#include <tightkv/budgets/keep_ratio.hpp>
#include <tightkv/methods/concept.hpp>
#include <tightkv/ops/keep_outside.hpp>
#include <tightkv/ops/lag_compact.hpp>
#include <tightkv/ops/lag_scores.hpp>
#include <tightkv/selectors/partition_top_k.hpp>

namespace tightkv {

/// After `sink` tokens the cache is cut into partitions of `lag`. Each is judged once, against the original rows of the
/// next, and keeps trunc(keep * lag) tokens; the last partition and the remainder stay, to be judged when more have
/// come. Liang et al., arXiv:2504.04704. One shot, token by token, or in any chunking: the kept set is the same.
///
///     tightkv::lag_kv const method{.keep = {0.25}, .lag = 1024};
///     tightkv::lag_kv::state state;                      // per layer and sequence
///     tightkv::compress(ex, method, view, state);        // after the prompt, and after every step
///
/// Needs keys, and values unless `value_weight` is 0. A cache of n tokens ends with about keep * n: it still grows.
struct lag_kv {
  static constexpr method_info info{
      .name = "lag_kv",
      .summary = "Each partition keeps the tokens that differ most from the partition after it.",
      .needs = "keys and values",
      .paper = "Liang et al., LagKV, arXiv:2504.04704",
      .paper_defaults = "sink 16, lag 128 to 1024"};

  keep_ratio keep{};  // of each partition
  int lag = 128;
  int sink = 16;
  float value_weight = 1.0F;

  static void parameters(auto& self, auto&& visit) {
    visit("keep", self.keep, "fraction of each partition kept");
    visit("lag", self.lag, "tokens in a partition");
    visit("sink", self.sink, "first tokens, protected");
    visit("value_weight", self.value_weight, "weight of the values' score; 0 does not read them");
  }

  /// How far each head has been compressed.
  struct state {
    std::vector<int> first;    // of the tokens not yet judged
    std::vector<int> decided;  // the same, once the plan is carried out

    void expect(int) const noexcept {}  // its fraction is of a partition, whatever is to come
    template <executor E>
    void apply(E const&, basic_plan<typename E::memory> const&) {
      first = decided;
    }
  };

  template <executor E, view_with_keys V>
  requires reachable_from<V, E> decision<E> decide(E const& ex, V const& view, state& s)
  const {
    due const next = due_of(ex, view, s);
    auto scores = make_scores(ex, view.heads(), longest(view.keys));
    if (!next.any) return {keep_all(ex, next.lengths), std::move(scores)};
    lag_scores(ex, view, {.partitions = next.partitions, .value_weight = value_weight}, scores.view());
    auto kept = next.selector.select(ex, scores.view(), next.lengths, next.partitions);
    return {std::move(kept), std::move(scores)};
  }

  /// The same, and moves the rows: `compress` calls it, because partition by partition one pass does both.
  template <executor E, view_with_keys V, writable_plane... More>
  requires reachable_from<V, E> && writable_plane<decltype(V::keys)> decision<E> decide_and_compact(E const& ex,
                                                                                                    V const& view,
                                                                                                    state& s,
                                                                                                    More const&... more)
  const {
    due const next = due_of(ex, view, s);
    auto scores = make_scores(ex, view.heads(), longest(view.keys));
    auto kept = next.selector.room(ex, next.lengths, next.partitions);
    lag_compact(ex, view, {next.partitions, value_weight, next.selector.quota}, scores.view(), kept, more...);
    return {std::move(kept), std::move(scores)};
  }

 private:
  /// What there is to judge.
  struct due {
    lag_partitions partitions{};
    partition_top_k selector{};
    std::pmr::vector<int> lengths;
    bool any = false;
  };

  template <executor E, view_with_keys V>
  due due_of(E const& ex, V const& view, state& s) const {
    check();
    if (s.first.empty()) s.first.assign(static_cast<std::size_t>(view.heads()), sink);
    detail::expects(static_cast<int>(s.first.size()) == view.heads(), "lag_kv", "the number of heads has changed",
                    "heads", view.heads(), "before", s.first.size());
    due next{{.first = s.first, .lag = lag}, {keep.part_of(lag)}, std::pmr::vector<int>(ex.resource())};
    s.decided = s.first;
    for (int h = 0; h < view.heads(); ++h) {
      next.lengths.push_back(view.tokens(h));
      int const judged = next.partitions.judged(h, view.tokens(h));
      s.decided[static_cast<std::size_t>(h)] += judged * next.selector.quota;
      next.any = next.any || judged > 0;
    }
    return next;
  }

  void check() const {
    keep.check();
    detail::expects(lag >= 2, "lag_kv", "lag must be at least 2", "lag", lag);
    detail::expects(sink >= 0, "lag_kv", "sink must not be negative", "sink", sink);
    detail::expects(std::isfinite(value_weight), "lag_kv", "value_weight must be finite", "value_weight", value_weight);
  }
};
static_assert(method<lag_kv>);

}  // namespace tightkv
