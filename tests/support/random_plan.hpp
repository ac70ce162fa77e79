// SPDX-License-Identifier: Apache-2.0
/// Plans drawn at random, for rows that are to be moved.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include <support/rows.hpp>
#include <tightkv/core/plan.hpp>

namespace tests {

/// Each head keeps some tokens; one keeps all and one keeps none.
inline tightkv::plan random_plan(extents const& e, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<int>> kept(e.lengths.size());
  std::vector<int> after;
  for (int h = 0; h < e.heads(); ++h) {
    auto& of_head = kept[static_cast<std::size_t>(h)];
    for (int t = 0; t < e.length(h); ++t) {
      if (h != 2 && (h == 1 || random() % 2 == 0)) of_head.push_back(t);
    }
    after.push_back(static_cast<int>(of_head.size()));
  }
  tightkv::plan p(e.lengths, after);
  for (int h = 0; h < e.heads(); ++h) std::ranges::copy(kept[static_cast<std::size_t>(h)], p.kept(h).begin());
  return p;
}

}  // namespace tests
