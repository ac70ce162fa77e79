// SPDX-License-Identifier: Apache-2.0
/// The attention of the last queries, in tiles.
#pragma once

#include <algorithm>
#include <cstddef>

#include <tightkv/cpu/attention.hpp>
#include <tightkv/ops/window_attention.hpp>

namespace tightkv {

template <class F>
struct kernel<window_attention_fn, basic_cpu<F>> {
  /// `Keys` multiply queries with the keys of a head.
  template <class Keys = detail::packed_keys, class V>
  static void run(basic_cpu<F> const& ex, V const& view, int window, matrix_view<float> out) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<window_attention_fn, basic_plain_cpu<F>>::run(ex, view, window, out);
    }
    ex.for_each_index(view.heads(), [&](int h) {
      int const tokens = view.tokens(h);
      if (tokens == 0) return;
      auto const mean = [&](auto sum, bool finite) { return finite ? static_cast<float>(sum / window) : unjudged; };
      int const queries = std::min(window, view.queries.tokens(h * group_size(view)));
      if (detail::are_few(group_size(view) * queries) && equally_many(view, h)) {
        detail::attention_of_few attention(tokens, group_size(view) * queries, ex.instructions(), ex.resource());
        attention.multiply(view, h, queries);
        for (int q = h * group_size(view); q < (h + 1) * group_size(view); ++q) {
          attention.clear();
          attention.add(view, q, queries);
          for (int j = 0; j < tokens; ++j)
            out(q, j) = mean(static_cast<double>(attention.sum()[j]), attention.finite()[j] != 0);
        }
        return;
      }
      Keys keys(tokens, view.keys.head_dim(), ex.instructions(), ex.resource());
      for (int tile = 0; tile < keys.count(); ++tile) keys.pack(view.keys, h, tile, ex.resource());
      detail::attention_block<Keys> block(keys, view.keys.head_dim(), ex.instructions(), ex.resource());
      for (int q = h * group_size(view); q < (h + 1) * group_size(view); ++q) {
        detail::attention_sums sums(keys.padded(), ex.resource());
        int const last = view.queries.tokens(q);
        for (int begin = std::max(0, last - window); begin < last; begin += block.rows_at_once())
          block.add(view, q, begin, std::min(begin + block.rows_at_once(), last), sums);
        for (int j = 0; j < tokens; ++j)
          out(q, j) = mean(sums.total[static_cast<std::size_t>(j)], keys.finite()[j] != 0);
      }
    });
  }

 private:
  /// Whether the query heads of KV head h have as many queries each.
  template <class V>
  static bool equally_many(V const& view, int h) {
    int const first = h * group_size(view);
    for (int q = first; q < first + group_size(view); ++q) {
      if (view.queries.tokens(q) != view.queries.tokens(first)) return false;
    }
    return true;
  }
};

}  // namespace tightkv
