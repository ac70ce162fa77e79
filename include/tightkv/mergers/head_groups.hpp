// SPDX-License-Identifier: Apache-2.0
/// Which KV heads become one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <tightkv/mergers/attention_shape.hpp>
#include <tightkv/mergers/gram.hpp>

namespace tightkv {

/// The old KV heads of each new one. Groups are equally large, and each old head is in one of them.
using head_groups = std::vector<std::vector<int>>;

namespace detail {

inline void check_into(char const* who, int kv_heads, int into) {
  expects(into >= 1 && kv_heads >= into && kv_heads % into == 0, who, "the new heads must divide the old ones",
          "kv_heads", kv_heads, "into", into);
}

/// Each head of [0, heads) exactly once, in groups of one size.
inline void check_groups(char const* who, head_groups const& groups, int heads) {
  std::vector<char> seen(static_cast<std::size_t>(heads));
  std::size_t of_all = 0;
  for (auto const& group : groups) {
    expects(!group.empty() && group.size() == groups[0].size(), who, "groups must be equally large", "heads",
            group.size(), "first", groups[0].size());
    for (int const h : group) {
      bool const fresh = h >= 0 && h < heads && seen[static_cast<std::size_t>(h)] == 0;
      expects(fresh, who, "each KV head must be in one group", "head", h, "kv_heads", heads);
      seen[static_cast<std::size_t>(h)] = 1;
    }
    of_all += group.size();
  }
  expects(of_all == seen.size(), who, "each KV head must be in one group", "grouped", of_all, "kv_heads", heads);
}

}  // namespace detail

/// Neighbours: heads {0 ... t-1}, {t ... 2t-1}, ... Throws `bad_argument` unless `into` divides `kv_heads`.
///
///     tightkv::adjacent_groups(6, 2)   // {{0, 1, 2}, {3, 4, 5}}
inline head_groups adjacent_groups(int kv_heads, int into) {
  detail::check_into("adjacent_groups", kv_heads, into);
  head_groups groups(static_cast<std::size_t>(into));
  for (int h = 0; h < kv_heads; ++h) groups[static_cast<std::size_t>(h / (kv_heads / into))].push_back(h);
  return groups;
}

/// Heads whose rows are alike, by linear CKA: ||X_i^T X_j||_F^2 / (||X_i^T X_i||_F ||X_j^T X_j||_F), from the Gram
/// matrix of all heads of the layer. Greedy: each group starts with the free head of the lowest number and takes those
/// most like its members, on average; of equals the first. Within a group heads ascend. Kornblith et al.,
/// arXiv:1905.00414.
///
/// Query heads move along when the weights are fused, so any order of heads is the same model. Keys and values must be
/// merged by the same groups. Throws `bad_argument` unless `into` divides `kv_heads`.
inline head_groups similar_groups(gram const& layer, int kv_heads, int into) {
  detail::check_into("similar_groups", kv_heads, into);
  detail::expects(layer.size() >= 1 && layer.size() % kv_heads == 0, "similar_groups",
                  "the statistics must be of all heads of the layer", "channels", layer.size(), "kv_heads", kv_heads);
  int const dim = layer.size() / kv_heads;
  matrix<double> squares(kv_heads, kv_heads);  // ||X_i^T X_j||_F^2
  for (int a = 0; a < layer.size(); ++a) {
    for (int b = 0; b < layer.size(); ++b) {
      double const x = layer.products()(a, b);
      squares(a / dim, b / dim) += x * x;
    }
  }
  auto const likeness = [&](int i, int j) {
    double const scale = std::sqrt(squares(i, i)) * std::sqrt(squares(j, j));
    return scale > 0 ? squares(i, j) / scale : 0.0;
  };

  std::vector<int> free(static_cast<std::size_t>(kv_heads));
  for (int h = 0; h < kv_heads; ++h) free[static_cast<std::size_t>(h)] = h;
  head_groups groups;
  while (!free.empty()) {
    std::vector<int> group{free.front()};
    free.erase(free.begin());
    while (static_cast<int>(group.size()) < kv_heads / into) {
      auto const to_group = [&](int h) {
        double sum = 0;
        for (int const member : group) sum += likeness(h, member);
        return sum;
      };
      auto const best =
          std::max_element(free.begin(), free.end(), [&](int a, int b) { return to_group(a) < to_group(b); });
      group.push_back(*best);
      free.erase(best);
    }
    std::sort(group.begin(), group.end());
    groups.push_back(std::move(group));
  }
  return groups;
}

/// The old query heads in the order in which the merged model has them: those of the first group's heads, and so on.
inline std::vector<int> query_head_order(attention_shape const& shape, head_groups const& groups) {
  detail::check_attention("query_head_order", shape);
  detail::check_groups("query_head_order", groups, shape.kv_heads);
  std::vector<int> order;
  for (auto const& group : groups) {
    for (int const h : group) {
      for (int q = 0; q < shape.group_size(); ++q) order.push_back(h * shape.group_size() + q);
    }
  }
  return order;
}

}  // namespace tightkv
