// SPDX-License-Identifier: Apache-2.0
/// Which KV heads become one.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <tightkv/mergers/attention_shape.hpp>
#include <tightkv/mergers/gram.hpp>

namespace tightkv {

/// The old KV heads of each new one. Groups are equally large, and each old head is in one of them.
using head_groups = std::vector<std::vector<int>>;

/// Neighbours: heads {0 ... t-1}, {t ... 2t-1}, ... Throws `bad_argument` unless `into` divides `kv_heads`.
head_groups adjacent_groups(int kv_heads, int into);

/// Heads whose rows are alike, by linear CKA: ||X_i^T X_j||_F^2 / (||X_i^T X_i||_F ||X_j^T X_j||_F), from the Gram
/// matrix of all heads of the layer. Greedy: each group starts with the free head of the lowest number and takes those
/// most like the group. Within a group heads ascend; query heads move along when the weights are fused. Kornblith et
/// al., arXiv:1905.00414.
head_groups similar_groups(gram const& layer, int kv_heads, int into);

/// The old query heads in the order in which the merged model has them.
std::vector<int> query_head_order(attention_shape const& shape, head_groups const& groups);

namespace detail {

/// Each head of [0, heads) exactly once, in groups of one size.
void check_groups(char const* who, head_groups const& groups, int heads);

}  // namespace detail
}  // namespace tightkv
