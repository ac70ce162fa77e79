// SPDX-License-Identifier: Apache-2.0
/// The attention of the last queries, in tiles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <utility>
#include <vector>

#include <tightkv/cpu/attention_of_few.hpp>
#include <tightkv/cpu/query_block.hpp>
#include <tightkv/ops/window_attention.hpp>

namespace tightkv {

template <class F>
struct kernel<window_attention_fn, basic_cpu<F>> {
  /// `Keys` multiply queries with the keys of a head.
  template <class Keys = detail::key_rows, class V>
  static void run(basic_cpu<F> const& ex, V const& view, int window, matrix_view<float> out) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<window_attention_fn, basic_plain_cpu<F>>::run(ex, view, window, out);
    }
    ex.for_each_index(view.heads(), [&](int h) {
      int const tokens = view.tokens(h);
      if (tokens == 0) return;
      double const part = 1.0 / window;
      auto const mean = [&](auto sum, bool finite) { return finite ? static_cast<float>(sum * part) : unjudged; };
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
      Keys keys(view, h, ex.instructions(), ex.resource());
      detail::query_block<Keys> block(keys, ex.instructions(), ex.resource());
      int const first = h * group_size(view);
      detail::scratch<double> const received(
          static_cast<std::size_t>(group_size(view)) * static_cast<std::size_t>(keys.padded()), ex.resource());
      std::fill(received.begin(), received.end(), 0.0);
      auto const total_of = [&](int q) { return received.data() + std::ptrdiff_t{q - first} * keys.padded(); };
      int known = 0;
      auto const observe = [&] {
        for (int j = 0; j < block.visible(); j += block.keys_at_once) {
          int const end = std::min(j + block.keys_at_once, block.visible());
          if (end > known) keys.prepare(view.keys, h, std::exchange(known, end), end, ex.resource());
          if (!block.multiply(view, j, end)) keys.judge(view.keys, h, j, end, ex.resource());
        }
        block.release(view, total_of);
      };
      for (int q = first; q < first + group_size(view); ++q) {
        int const last = view.queries.tokens(q);
        for (int i = std::max(0, last - window); i < last; ++i) {
          block.take(view, q, i);
          if (block.full()) observe();
        }
      }
      observe();
      block.settle();
      for (int q = first; q < first + group_size(view); ++q) {
        for (int j = 0; j < tokens; ++j) out(q, j) = mean(total_of(q)[j], keys.finite()[j] != 0);
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
