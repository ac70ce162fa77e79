// SPDX-License-Identifier: Apache-2.0
/// LagKV in one pass over keys and values: the kept rows of a partition move as soon as it is judged.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include <tightkv/core/runs.hpp>
#include <tightkv/cpu/compact.hpp>
#include <tightkv/cpu/lag_scores.hpp>
#include <tightkv/cpu/move_rows.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/select_top_k.hpp>
#include <tightkv/ops/lag_compact.hpp>

namespace tightkv {
namespace detail {
inline namespace TIGHTKV_KERNELS_FOR {

/// Takes one head after another. All its memory is there before the first row moves, so nothing can fail in between.
template <class V>
class lag_compactor {
 public:
  lag_compactor(V const& view, lag_compact_fn::parameters const& p, instruction_set set,
                std::pmr::memory_resource* memory)
      : view_(view), p_(p), set_(set), scorer_(view, p.scoring(), set, memory), selector_(set, memory) {
    scorer_.reserve((partitions_at_once(lag()) + 2) * lag());
    selector_.reserve(lag());
  }

  /// Fills in the scores and the kept tokens of head h, and moves its rows. The head after it is fetched meanwhile, if
  /// there is one: it begins where nothing else would be. Returns how many scores are NaN.
  std::ptrdiff_t run(int h, int next, float* scores, std::span<int> kept) {
    int const tokens = view_.tokens(h);
    int const judged = p_.partitions.judged(h, tokens);
    mark_not_judged(p_.partitions, h, tokens, scores);
    int const first = judged > 0 ? first_of(h) : tokens;
    number_run(kept.first(static_cast<std::size_t>(first)), 0);
    std::ptrdiff_t nans = 0;
    int to = first;
    int from = first;
    for (int i = 0; i < judged; ++i, from += lag(), to += p_.quota) {
      int const at = i % partitions_at_once(lag());
      if (at == 0) look_up(h, from, judged - i);
      if (i == judged - 1 && has_partitions(next)) scorer_.look_ahead(next, first_of(next));
      scorer_.score(at, scores + from);
      auto const best = kept.subspan(static_cast<std::size_t>(to), static_cast<std::size_t>(p_.quota));
      nans += selector_.keep(scores, {from, from + lag()}, p_.quota, best.data());
      move(h, best, to);
    }
    auto const rest = kept.subspan(static_cast<std::size_t>(to));
    number_run(rest, from);
    if (to != from) move(h, rest, to);
    return nans;
  }

 private:
  int lag() const noexcept { return p_.partitions.lag; }
  int first_of(int h) const noexcept { return p_.partitions.first[static_cast<std::size_t>(h)]; }
  bool has_partitions(int h) const { return h < view_.heads() && p_.partitions.judged(h, view_.tokens(h)) > 0; }

  /// The next partitions, the one that judges them, and one more, if there is, to be fetched ahead.
  void look_up(int h, int begin, int judged) {
    int const partitions = std::min(partitions_at_once(lag()), judged) + 2;
    int const end = static_cast<int>(
        std::min<std::ptrdiff_t>(view_.tokens(h), begin + static_cast<std::ptrdiff_t>(partitions) * lag()));
    scorer_.look_up(h, begin, end);
  }

  void move(int h, std::span<int const> tokens, int to) const {
    move_left(set_, view_.keys.head(h), tokens, to, {0, static_cast<std::size_t>(row_bytes(view_.keys))});
    if constexpr (kv_plane<decltype(V::values)>)
      move_left(set_, view_.values.head(h), tokens, to, {0, static_cast<std::size_t>(row_bytes(view_.values))});
  }

  V const& view_;
  lag_compact_fn::parameters const& p_;
  instruction_set set_;
  lag_scorer<V> scorer_;
  fast_selector selector_;
};

}  // namespace TIGHTKV_KERNELS_FOR

/// Keys, and values if there are any, whose rows lie in one piece each.
template <class V>
concept view_of_whole_rows = has_whole_rows<decltype(V::keys)> &&
    (!kv_plane<decltype(V::values)> || has_whole_rows<decltype(V::values)>);

}  // namespace detail

template <class F>
struct kernel<lag_compact_fn, basic_cpu<F>> {
  template <class V, class... P>
  static void run(basic_cpu<F> const& ex, V const& view, lag_compact_fn::parameters const& p, matrix_view<float> scores,
                  plan& kept, P const&... more) {
    if (ex.instructions() == instruction_set::none) {
      basic_plain_cpu<F> const& plain = ex;
      return kernel<lag_compact_fn, basic_plain_cpu<F>>::run(plain, view, p, scores, kept, more...);
    }
    constexpr bool one_pass_can = detail::view_of_whole_rows<V>;
    constexpr int enough = 8;  // heads: each is one piece of work, so of fewer the steps may make more pieces
    if constexpr (one_pass_can) {
      if (std::is_same_v<F, serial> || view.heads() >= enough) return in_one_pass(ex, view, p, scores, kept, more...);
    }
    if constexpr (!one_pass_can || !std::is_same_v<F, serial>)
      detail::lag_compact_by_steps::run(ex, view, p, scores, kept, more...);
  }

 private:
  template <class V, class... P>
  static void in_one_pass(basic_cpu<F> const& ex, V const& view, lag_compact_fn::parameters const& p,
                          matrix_view<float> scores, plan& kept, P const&... more) {
    constexpr int most_at_once = 64;
    int const workers = std::min(view.heads(), std::is_same_v<F, serial> ? 1 : most_at_once);
    std::pmr::vector<std::optional<detail::lag_compactor<V>>> worker(static_cast<std::size_t>(workers), ex.resource());
    for (auto& w : worker) w.emplace(view, p, ex.instructions(), ex.resource());
    std::pmr::vector<std::ptrdiff_t> nans(static_cast<std::size_t>(workers), ex.resource());

    ex.for_each_index(workers, [&](int w) {
      auto const i = static_cast<std::size_t>(w);
      for (int h = w; h < view.heads(); h += workers)
        nans[i] += worker[i]->run(h, h + workers, scores.row(h), kept.kept(h));
    });
    for (auto const n : nans) kept.nan_scores += n;
    kernel<compact_fn, basic_cpu<F>>::run(ex, kept, more...);
  }
};

}  // namespace tightkv
