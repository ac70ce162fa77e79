// SPDX-License-Identifier: Apache-2.0
#include "merge_layer.hpp"

#include <cmath>
#include <utility>
#include <vector>

#include <tightkv/eigen.hpp>

namespace tightkv::cli {
namespace {

energy sum_of(std::vector<head_projection> const& projections) {
  energy sum;
  for (auto const& p : projections) sum += p.predicted;
  return sum;
}

/// One projection per group of heads.
template <class Merge>
std::vector<head_projection> for_each_group(head_groups const& groups, Merge&& merge) {
  std::vector<head_projection> result;
  for (auto const& group : groups) result.push_back(merge(group));
  return result;
}

/// The heads of all groups, in their order, as one group.
head_groups all_in_one(head_groups const& groups) {
  head_groups result(1);
  for (auto const& group : groups) result[0].insert(result[0].end(), group.begin(), group.end());
  return result;
}

std::vector<head_projection> merge_keys(engine::hyper_parameters const& s, head_groups const& groups,
                                        layer_sums const& sums, merge_options const& asked) {
  auto const shape = shape_of(s);
  auto const uses = query_uses(sums.queries);
  int const rank = asked.keys == "layer-wide" ? asked.kv_heads * shape.key_dim : 0;
  return for_each_group(groups, [&](std::vector<int> const& heads) {
    auto const group = group_of(sums.keys, shape.kv_heads, heads, uses);
    if (asked.keys == "alternating") {
      return alternating_heads{shape.rotary, {static_cast<double>(s.rope_base), s.context}, asked.steps}.merge(group);
    }
    if (asked.keys == "commuting") return commuting_heads{shape.rotary}.merge(group);
    if (asked.keys == "commuting-query") return commuting_query_heads{shape.rotary}.merge(group);
    if (asked.keys == "kq-svd") return kq_svd{}.merge(group);
    if (asked.keys == "mean") return mean_heads{}.merge(group);
    return svd_heads{.rank = rank}.merge(group);  // post-rope, layer-wide
  });
}

std::vector<head_projection> merge_values(attention_shape const& shape, head_groups const& groups,
                                          layer_sums const& sums, engine::layer_weights const& w,
                                          merge_options const& asked) {
  auto const of_weights = asked.values == "svd-weights" ? weight_gram(w.value.view()) : gram(sums.values.size());
  auto const uses = output_uses(w.attention_output.view(), shape);
  return for_each_group(groups, [&](std::vector<int> const& heads) {
    auto const group = group_of(sums.values, shape.kv_heads, heads, uses);
    if (asked.values == "svd") return svd_heads{}.merge(group);
    if (asked.values == "svd-weights") return svd_heads{}.merge(group_of(of_weights, shape.kv_heads, heads));
    if (asked.values == "mean") return mean_heads{}.merge(group);
    return kq_svd{}.merge(group);  // output
  });
}

}  // namespace

attention_shape shape_of(engine::hyper_parameters const& s) {
  return {.query_heads = s.query_heads,
          .kv_heads = s.kv_heads,
          .key_dim = s.head_dim,
          .value_dim = s.head_dim,
          .rotary = {s.rope_dimensions, rotary_pairs::interleaved}};
}

engine::hyper_parameters merged_shape(engine::hyper_parameters const& s, merge_options const& asked) {
  auto merged = s;
  merged.kv_heads = merged.key_heads = asked.kv_heads;
  if (!merges_at_run_time(asked)) return merged;
  merged.merges_at_run_time = true;
  merged.key_heads = s.kv_heads;
  if (asked.keys == "layer-wide") {  // one wide KV head, of which each query head sees all keys and its own values
    merged.kv_heads = 1;
    merged.head_dim = asked.kv_heads * s.head_dim;
    merged.values_per_row = asked.kv_heads;
  }
  return merged;
}

merged_layer merge_layer(engine::hyper_parameters const& s, engine::layer_weights const& w, layer_sums const& sums,
                         merge_options const& asked) {
  auto const shape = shape_of(s);
  auto const groups = asked.groups == "similar" ? similar_groups(sums.keys, s.kv_heads, asked.kv_heads)
                                                : adjacent_groups(s.kv_heads, asked.kv_heads);
  auto const key_groups = asked.keys == "layer-wide" ? all_in_one(groups) : groups;
  auto const keys = merge_keys(s, key_groups, sums, asked);
  auto const values = merge_values(shape, groups, sums, w, asked);

  merged_layer result{.weights = w, .keys = sum_of(keys), .values = sum_of(values)};
  auto fused = fuse_values(shape, groups, values, {w.value.view(), w.attention_output.view()});
  result.weights.value = std::move(fused.value);
  result.weights.attention_output = std::move(fused.output);
  if (!merges_at_run_time(asked)) {
    auto merged = fuse_keys(shape, groups, keys, {w.key.view(), w.query.view()});
    result.weights.key = std::move(merged.key);
    result.weights.query = std::move(merged.query);
    return result;
  }
  auto moved = reorder_keys(shape, groups, {w.key.view(), w.query.view()});
  result.weights.key = std::move(moved.key);
  result.weights.query = std::move(moved.query);
  auto matrices = stack(keys);
  // The engine divides scores by the root of a cached row's length, which is not that of the old heads in a wide row.
  auto const scale = std::sqrt(static_cast<float>(matrices.query.cols()) / static_cast<float>(s.head_dim));
  for (int r = 0; r < matrices.query.rows(); ++r) {
    for (int c = 0; c < matrices.query.cols(); ++c) matrices.query(r, c) *= scale;
  }
  result.weights.key_merge = std::move(matrices.key);
  result.weights.query_merge = std::move(matrices.query);
  return result;
}

}  // namespace tightkv::cli
