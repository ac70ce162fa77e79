// SPDX-License-Identifier: Apache-2.0
/// Queries of some heads of random queries.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

#include <support/rows.hpp>
#include <tightkv/core/matrix.hpp>

namespace tests {

/// The query heads that belong to the given KV heads.
[[gnu::noinline]] inline rows queries_of(rows const& all, std::vector<int> const& kv_heads, int group) {
  int const count = all.length(0);
  rows chosen({std::vector<int>(kv_heads.size() * static_cast<std::size_t>(group), count), all.head_dim},
              all.element_bytes);
  for (int q = 0; q < chosen.heads(); ++q) {
    int const from = kv_heads[static_cast<std::size_t>(q / group)] * group + q % group;
    std::memcpy(chosen.at(q, 0, 0), all.at(from, 0, 0),
                static_cast<std::size_t>(count * all.head_dim) * all.element_bytes);
  }
  return chosen;
}

/// Rows of query heads into `out`, which has one row more per group, its first.
[[gnu::noinline]] inline void spread(tightkv::matrix<float> const& in, int group, tightkv::matrix_view<float> out) {
  for (int q = 0; q < in.rows(); ++q) {
    for (int t = 0; t < in.cols(); ++t) out(q / group * (group + 1) + 1 + q % group, t) = in(q, t);
  }
}

}  // namespace tests
