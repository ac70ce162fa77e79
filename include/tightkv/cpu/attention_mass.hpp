// SPDX-License-Identifier: Apache-2.0
/// Attention received, in tiles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include <tightkv/cpu/attention_of_few.hpp>
#include <tightkv/cpu/query_block.hpp>
#include <tightkv/ops/attention_mass.hpp>

namespace tightkv {

template <class F>
struct kernel<attention_mass_fn, basic_cpu<F>> {
  /// `Keys` multiply queries with the keys of a head.
  template <class Keys = detail::key_rows, class V>
  static void run(basic_cpu<F> const& ex, V const& view, std::span<int const> queries, matrix_view<float> out) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<attention_mass_fn, basic_plain_cpu<F>>::run(ex, view, queries, out);
    }
    auto const few = [&](int h) { return detail::are_few(group_size(view) * queries[static_cast<std::size_t>(h)]); };
    ex.for_each_index(view.heads(), [&](int h) {
      if (few(h)) add_few(ex, view, h, queries[static_cast<std::size_t>(h)], out.row(h));
    });
    for (int h = 0; h < view.heads(); ++h) {
      if (!few(h)) add<Keys>(ex, view, h, queries[static_cast<std::size_t>(h)], out.row(h));
    }
  }

 private:
  template <class V>
  static void add_few(basic_cpu<F> const& ex, V const& view, int h, int queries, float* mass) {
    int const tokens = view.tokens(h);
    detail::attention_of_few attention(tokens, group_size(view) * queries, ex.instructions(), ex.resource());
    attention.multiply(view, h, queries);
    for (int q = h * group_size(view); q < (h + 1) * group_size(view); ++q) attention.add(view, q, queries);
    for (int j = 0; j < tokens; ++j) mass[j] = attention.finite()[j] != 0 ? mass[j] + attention.sum()[j] : unjudged;
  }

  template <class Keys, class V>
  static void add(basic_cpu<F> const& ex, V const& view, int h, int queries, float* mass) {
    int const tokens = view.tokens(h);
    using block = detail::query_block<Keys>;
    Keys keys(view, h, ex.instructions(), ex.resource());
    ex.for_each_index((tokens + block::keys_at_once - 1) / block::keys_at_once, [&](int piece) {
      int const begin = piece * block::keys_at_once;
      int const end = std::min(begin + block::keys_at_once, tokens);
      keys.prepare(view.keys, h, begin, end, ex.resource());
      keys.judge(view.keys, h, begin, end, ex.resource());
    });

    // The queries are dealt out to a fixed number of sums, whatever the number of threads.
    constexpr int sums = 8;
    detail::scratch<double> const received(sums * static_cast<std::size_t>(keys.padded()), ex.resource());
    std::fill(received.begin(), received.end(), 0.0);
    auto const sums_of = [&](int part) { return received.data() + std::ptrdiff_t{part} * keys.padded(); };
    int const count = group_size(view) * queries;
    ex.for_each_index(sums, [&](int part) {
      block some(keys, ex.instructions(), ex.resource());
      for (int begin = part * block::most_queries; begin < count; begin += sums * block::most_queries) {
        for (int r = begin; r < std::min(begin + block::most_queries, count); ++r) {
          int const q = h * group_size(view) + r / queries;
          some.take(view, q, view.queries.tokens(q) - queries + r % queries);
        }
        for (int j = 0; j < some.visible(); j += block::keys_at_once)
          some.multiply(view, j, std::min(j + block::keys_at_once, some.visible()));
        some.release(view, [&](int) { return sums_of(part); });
      }
      some.settle();
    });
    for (int j = 0; j < tokens; ++j) {
      double sum = 0.0;
      for (int part = 0; part < sums; ++part) sum += sums_of(part)[j];
      mass[j] = keys.finite()[j] != 0 ? static_cast<float>(static_cast<double>(mass[j]) + sum) : unjudged;
    }
  }
};

}  // namespace tightkv
