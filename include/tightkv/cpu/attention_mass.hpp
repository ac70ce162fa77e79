// SPDX-License-Identifier: Apache-2.0
/// Attention received, in tiles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <vector>

#include <tightkv/cpu/attention.hpp>
#include <tightkv/ops/attention_mass.hpp>

namespace tightkv {

template <class F>
struct kernel<attention_mass_fn, basic_cpu<F>> {
  /// `Keys` multiply queries with the keys of a head.
  template <class Keys = detail::packed_keys, class V>
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
    Keys keys(tokens, view.keys.head_dim(), ex.instructions(), ex.resource());
    ex.for_each_index(keys.count(), [&](int tile) { keys.pack(view.keys, h, tile, ex.resource()); });

    // The queries are dealt out to a fixed number of sums, whatever the number of threads.
    constexpr int sums = 8;
    std::pmr::vector<detail::attention_sums> of_part(ex.resource());
    for (int i = 0; i < sums; ++i) of_part.emplace_back(keys.padded(), ex.resource());
    ex.for_each_index(sums, [&](int part) {
      detail::attention_block<Keys> block(keys, view.keys.head_dim(), ex.instructions(), ex.resource());
      int number = 0;
      for (int q = h * group_size(view); q < (h + 1) * group_size(view); ++q) {
        int const last = view.queries.tokens(q);
        for (int begin = last - queries; begin < last; begin += block.rows_at_once(), ++number) {
          if (number % sums == part) {
            int const end = std::min(begin + block.rows_at_once(), last);
            block.add(view, q, begin, end, of_part[static_cast<std::size_t>(part)]);
          }
        }
      }
    });
    for (int j = 0; j < tokens; ++j) {
      double received = 0.0;
      for (auto const& sum : of_part) received += sum.total[static_cast<std::size_t>(j)];
      mass[j] = keys.finite()[j] != 0 ? static_cast<float>(static_cast<double>(mass[j]) + received) : unjudged;
    }
  }
};

}  // namespace tightkv
