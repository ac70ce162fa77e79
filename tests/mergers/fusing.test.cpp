// SPDX-License-Identifier: Apache-2.0
/// A layer whose heads are merged in its weights is the layer whose rows are projected and restored.
#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mergers/attention.hpp>
#include <tightkv/mergers/calibration.hpp>
#include <tightkv/mergers/commuting_heads.hpp>
#include <tightkv/mergers/kq_svd.hpp>
#include <tightkv/mergers/mean_heads.hpp>
#include <tightkv/mergers/svd_heads.hpp>

namespace {

using namespace tests;

constexpr tightkv::attention_shape mha{.query_heads = 4, .kv_heads = 4, .key_dim = 8, .value_dim = 6};
constexpr tightkv::attention_shape gqa{.query_heads = 8, .kv_heads = 4, .key_dim = 8, .value_dim = 6};

tightkv::attention_shape with_rope(tightkv::attention_shape s, tightkv::rotary const& r) {
  s.rotary = r;
  return s;
}

/// A layer, inputs, and statistics of its rows.
struct layer_to_merge {
  attention original;
  numbers inputs = related_rows(40, 24, 99, 0.5F);
  activations rows = activations_of(original, inputs);
  tightkv::layer_sums sums{original.shape};

  explicit layer_to_merge(tightkv::attention_shape const& s, bool biases = true)
      : original(random_attention(s, 24, 7, biases)) {
    auto const plane = [](numbers const& side_by_side, int heads) {
      return tightkv::nhd(side_by_side.view().data, {heads, side_by_side.rows(), side_by_side.cols() / heads});
    };
    auto const q = rounded(rows.queries);
    auto const k = rounded(rows.keys);
    auto const v = rounded(rows.values);
    sums.add(tightkv::plain_cpu{}, plane(k, s.kv_heads), plane(v, s.kv_heads), plane(q, s.query_heads));
  }

  template <class M>
  std::vector<tightkv::head_projection> keys_by(M const& merger, tightkv::head_groups const& groups) const {
    std::vector<tightkv::head_projection> result;
    auto const uses = tightkv::query_uses(sums.queries);
    for (auto const& g : groups) {
      result.push_back(merger.merge(tightkv::group_of(sums.keys, original.shape.kv_heads, g, uses)));
    }
    return result;
  }
  template <class M>
  std::vector<tightkv::head_projection> values_by(M const& merger, tightkv::head_groups const& groups) const {
    std::vector<tightkv::head_projection> result;
    auto const uses = tightkv::output_uses(original.output.view(), original.shape);
    for (auto const& g : groups) {
      result.push_back(merger.merge(tightkv::group_of(sums.values, original.shape.kv_heads, g, uses)));
    }
    return result;
  }
  /// The output with rows projected and restored.
  table unfused(std::span<tightkv::head_projection const> keys, std::span<tightkv::head_projection const> values,
                tightkv::head_groups const& groups) const {
    auto restored = rows;
    restore(restored.keys, keys, groups);
    restore(restored.values, values, groups);
    return output_of(original, restored);
  }
  /// The output of the merged layer.
  table fused(std::span<tightkv::head_projection const> keys, std::span<tightkv::head_projection const> values,
              tightkv::head_groups const& groups) const {
    auto merged = with_values(with_keys(original, groups, keys), groups, values);
    merged.shape.kv_heads = static_cast<int>(groups.size());
    return output_of(merged, activations_of(merged, inputs));
  }
};

tightkv::head_groups const pairs{{0, 1}, {2, 3}};
tightkv::head_groups const not_neighbours{{0, 3}, {1, 2}};

TEST(fusing, values_and_keys_without_rope_is_projecting_and_restoring_them) {
  for (auto const& shape : {mha, gqa}) {
    layer_to_merge const layer(shape);
    for (auto const& groups : {pairs, not_neighbours, tightkv::adjacent_groups(4, 1), tightkv::adjacent_groups(4, 4)}) {
      auto const keys = layer.keys_by(tightkv::svd_heads{}, groups);
      auto const values = layer.values_by(tightkv::svd_heads{}, groups);
      expect_near(layer.fused(keys, values, groups), layer.unfused(keys, values, groups), 1e-5);
    }
  }
}

TEST(fusing, works_with_any_merger_rank_and_origin) {
  layer_to_merge const layer(gqa);
  auto const about_mean = tightkv::origin::mean;
  auto const expect = [&](auto const& of_keys, auto const& of_values) {
    auto const keys = layer.keys_by(of_keys, pairs);
    auto const values = layer.values_by(of_values, pairs);
    expect_near(layer.fused(keys, values, pairs), layer.unfused(keys, values, pairs), 2e-5);
  };
  expect(tightkv::kq_svd{.rank = 5}, tightkv::kq_svd{.rank = 9});
  expect(tightkv::svd_heads{.rank = 11, .origin = about_mean}, tightkv::svd_heads{.rank = 3, .origin = about_mean});
  expect(tightkv::kq_svd{.origin = about_mean}, tightkv::kq_svd{.origin = about_mean});
  expect(tightkv::mean_heads{}, tightkv::mean_heads{});
}

TEST(fusing, values_about_their_mean_gives_w_o_a_bias_where_it_had_none) {
  layer_to_merge const layer(mha, false);
  auto const values = layer.values_by(tightkv::svd_heads{.origin = tightkv::origin::mean}, pairs);
  auto const merged = tightkv::fuse_values(mha, pairs, values, layer.original.values());
  EXPECT_EQ(merged.output_bias.size(), 24U);
  EXPECT_TRUE(merged.value_bias.empty());
  auto const about_zero = layer.values_by(tightkv::svd_heads{}, pairs);
  EXPECT_TRUE(tightkv::fuse_values(mha, pairs, about_zero, layer.original.values()).output_bias.empty());
  auto const keys = layer.keys_by(tightkv::svd_heads{}, pairs);
  expect_near(layer.fused(keys, values, pairs), layer.unfused(keys, values, pairs), 1e-5);
}

TEST(fusing, of_groups_of_one_head_is_the_same_layer) {
  for (auto const& shape : {gqa, with_rope(gqa, {8}), with_rope(gqa, {4, tightkv::rotary_pairs::interleaved})}) {
    layer_to_merge const layer(shape);
    auto const alone = tightkv::adjacent_groups(4, 4);
    auto const original = output_of(layer.original, layer.rows);
    auto const values = layer.values_by(tightkv::svd_heads{}, alone);
    auto const keys = layer.keys_by(tightkv::commuting_query_heads{shape.rotary}, alone);
    expect_near(layer.fused(keys, values, alone), original, 1e-5);
  }
}

TEST(fusing, keys_with_rope_commutes_with_it_at_any_position) {
  for (auto const pairing : {tightkv::rotary_pairs::half_split, tightkv::rotary_pairs::interleaved}) {
    for (int const channels : {8, 4}) {
      auto const shape = with_rope(gqa, {channels, pairing});
      layer_to_merge const layer(shape);
      for (auto const& groups : {pairs, not_neighbours}) {
        auto const values = layer.values_by(tightkv::svd_heads{}, groups);
        for (auto const& keys : {layer.keys_by(tightkv::commuting_heads{shape.rotary}, groups),
                                 layer.keys_by(tightkv::commuting_query_heads{shape.rotary}, groups),
                                 layer.keys_by(tightkv::mean_heads{}, groups)}) {
          expect_near(layer.fused(keys, values, groups), layer.unfused(keys, values, groups), 1e-5);
        }
      }
    }
  }
}

TEST(fusing, of_both_rotary_layouts_is_the_same_function) {
  // The interleaved layer has the half-split layer's rows of W_Q and W_K in another order, channel f where 2f is.
  layer_to_merge split(with_rope(gqa, {8, tightkv::rotary_pairs::half_split}));
  auto moved = split.original;
  moved.shape.rotary.pairs = tightkv::rotary_pairs::interleaved;
  auto const move = [&](numbers const& from, numbers& to, std::vector<float> const& bias,
                        std::vector<float>& moved_bias) {
    for (int r = 0; r < from.rows(); ++r) {
      int const f = r % 8;
      int const target = r / 8 * 8 + (f < 4 ? 2 * f : 2 * (f - 4) + 1);
      for (int i = 0; i < from.cols(); ++i) to(target, i) = from(r, i);
      moved_bias[static_cast<std::size_t>(target)] = bias[static_cast<std::size_t>(r)];
    }
  };
  move(split.original.query, moved.query, split.original.query_bias, moved.query_bias);
  move(split.original.key, moved.key, split.original.key_bias, moved.key_bias);
  layer_to_merge interleaved(moved.shape);
  interleaved.original = moved;
  interleaved.rows = activations_of(moved, interleaved.inputs);
  expect_near(output_of(moved, interleaved.rows), output_of(split.original, split.rows), 1e-9);

  interleaved.sums = tightkv::layer_sums(moved.shape);
  auto const q = rounded(interleaved.rows.queries);
  auto const k = rounded(interleaved.rows.keys);
  auto const v = rounded(interleaved.rows.values);
  interleaved.sums.add(tightkv::plain_cpu{}, tightkv::nhd(k.view().data, {4, 40, 8}),
                       tightkv::nhd(v.view().data, {4, 40, 6}), tightkv::nhd(q.view().data, {8, 40, 8}));
  auto const merged = [&](layer_to_merge const& layer) {
    auto const keys = layer.keys_by(tightkv::commuting_query_heads{layer.original.shape.rotary}, pairs);
    return layer.fused(keys, layer.values_by(tightkv::svd_heads{}, pairs), pairs);
  };
  expect_near(merged(interleaved), merged(split), 1e-5);
}

TEST(fusing, of_the_rank_into_the_softmax_scale_is_for_engines_that_divide_by_the_root_of_the_rank) {
  layer_to_merge const layer(mha);
  auto const keys = layer.keys_by(tightkv::svd_heads{.rank = 5}, pairs);
  auto const of_dim = with_keys(layer.original, pairs, keys);
  auto of_rank = with_keys(layer.original, pairs, keys, tightkv::softmax_scale::of_rank);
  for (int r = 0; r < of_dim.query.rows(); ++r) {
    EXPECT_NEAR(of_rank.query(r, 3) / std::sqrt(5), of_dim.query(r, 3) / std::sqrt(8), 1e-6);
    EXPECT_NEAR(of_rank.query_bias[static_cast<std::size_t>(r)] / std::sqrt(5),
                of_dim.query_bias[static_cast<std::size_t>(r)] / std::sqrt(8), 1e-6);
  }
  EXPECT_EQ(of_rank.key(3, 3), of_dim.key(3, 3));
}

TEST(fusing, keys_at_run_time_is_projecting_and_restoring_them_after_rope) {
  // R2, KQ-SVD and, as one group of all heads, R1; QK-norm or not makes no difference here.
  auto shape = with_rope(gqa, {8, tightkv::rotary_pairs::interleaved});
  shape.qk_norm = true;
  layer_to_merge const layer(shape);
  auto const expect = [&](std::vector<tightkv::head_projection> const& keys, tightkv::head_groups const& groups) {
    auto const matrices = tightkv::stack(keys);
    auto const reordered = tightkv::reorder_keys(shape, groups, layer.original.keys());
    auto merged = layer.original;
    merged.key = reordered.key;
    merged.query = reordered.query;
    merged.key_bias = reordered.key_bias;
    merged.query_bias = reordered.query_bias;
    merged = with_values(merged, groups, layer.values_by(tightkv::svd_heads{}, groups));

    auto rows = activations_of(merged, layer.inputs);
    auto const project = [&](table const& from, int heads, numbers const& by, int new_heads, int rank) {
      auto const before = rounded(from);
      numbers after(from.rows(), new_heads * rank);
      tightkv::project_heads(tightkv::cpu{}, tightkv::nhd(before.view().data, {heads, from.rows(), 8}), by.view(),
                             tightkv::nhd(after.view().data, {new_heads, from.rows(), rank}));
      table result(after.rows(), after.cols());
      for (int t = 0; t < after.rows(); ++t) {
        for (int c = 0; c < after.cols(); ++c) result(t, c) = static_cast<double>(after(t, c));
      }
      return result;
    };
    int const rank = keys[0].rank();
    rows.keys = project(rows.keys, 4, matrices.key, static_cast<int>(groups.size()), rank);
    rows.queries = project(rows.queries, 8, matrices.query, 8, rank);
    merged.shape.kv_heads = static_cast<int>(groups.size());
    auto const values = layer.values_by(tightkv::svd_heads{}, groups);
    expect_near(output_of(merged, rows), layer.unfused(keys, values, groups), 3e-5);
  };
  for (auto const& groups : {pairs, not_neighbours}) {
    expect(layer.keys_by(tightkv::svd_heads{}, groups), groups);
    expect(layer.keys_by(tightkv::kq_svd{.rank = 6}, groups), groups);
  }
  auto const all = tightkv::adjacent_groups(4, 1);
  expect(layer.keys_by(tightkv::svd_heads{.rank = 16}, all), all);
}

TEST(fusing, refuses_keys_behind_a_norm_and_projections_that_do_not_commute_with_rope) {
  auto shape = with_rope(gqa, {8});
  layer_to_merge const layer(shape);
  auto const commuting = layer.keys_by(tightkv::commuting_heads{shape.rotary}, pairs);
  auto const weights = layer.original.keys();
  auto const words = [&](auto const& what) {
    try {
      what();
      return std::string();
    } catch (tightkv::bad_argument const& refused) {
      return std::string(refused.what());
    }
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(words([&] { tightkv::fuse_keys(shape, pairs, layer.keys_by(tightkv::svd_heads{}, pairs), weights); }),
              HasSubstr("commute"));
  auto other = commuting;  // that of the other layout
  other[0] = tightkv::commuting_heads{{8, tightkv::rotary_pairs::interleaved}}.merge(
      tightkv::group_of(layer.sums.keys, 4, {0, 1}));
  EXPECT_THAT(words([&] { tightkv::fuse_keys(shape, pairs, other, weights); }), HasSubstr("commute"));
  auto with_offset = commuting;
  with_offset[1].offset.assign(16, 0.5);
  EXPECT_THAT(words([&] { tightkv::fuse_keys(shape, pairs, with_offset, weights); }), HasSubstr("offset"));
  EXPECT_THAT(words([&] { tightkv::stack(with_offset); }), HasSubstr("offset"));
  shape.qk_norm = true;
  EXPECT_THAT(words([&] { tightkv::fuse_keys(shape, pairs, commuting, weights); }), HasSubstr("QK-norm"));
}

TEST(fusing, refuses_what_does_not_fit) {
  layer_to_merge const layer(gqa);
  auto const keys = layer.keys_by(tightkv::svd_heads{}, pairs);
  auto const values = layer.values_by(tightkv::svd_heads{}, pairs);
  auto const k = layer.original.keys();
  auto const v = layer.original.values();
  auto const refuses_keys = [&](tightkv::attention_shape const& s, tightkv::head_groups const& groups, auto const& p,
                                tightkv::key_weights const& w) {
    EXPECT_THROW(tightkv::fuse_keys(s, groups, p, w), tightkv::bad_argument);
  };
  auto const one = std::vector{keys[0]};
  refuses_keys(gqa, pairs, one, k);              // a projection for two groups
  refuses_keys(gqa, {{0, 1}, {2, 2}}, keys, k);  // a head twice
  refuses_keys(gqa, {{0, 1}, {2}}, keys, k);     // uneven groups
  refuses_keys(gqa, {{0, 1}, {2, 4}}, keys, k);  // no such head
  refuses_keys(gqa, {{0}, {1}, {2}, {3}}, std::vector(4, keys[0]), k);
  refuses_keys(gqa, pairs, values, k);  // projections of 6 channels a head
  refuses_keys(gqa, pairs,
               std::vector{keys[0], tightkv::svd_heads{.rank = 5}.merge(tightkv::group_of(layer.sums.keys, 4, {2, 3}))},
               k);
  refuses_keys(mha, pairs, keys, k);  // W_Q of 8 heads
  refuses_keys(gqa, pairs, keys, {k.query, k.query});
  refuses_keys(gqa, pairs, keys, {k.key, k.query, k.query_bias});
  auto no_data = k;
  no_data.key.data = nullptr;
  refuses_keys(gqa, pairs, keys, no_data);
  EXPECT_THROW(tightkv::fuse_values(mha, pairs, values, v), tightkv::bad_argument);
  EXPECT_THROW(tightkv::fuse_values(gqa, pairs, keys, v), tightkv::bad_argument);
  EXPECT_THROW(tightkv::fuse_values(gqa, pairs, values, {v.output, v.value}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::fuse_values(gqa, pairs, values, {v.value, v.output, k.query_bias}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::reorder_keys(gqa, {{0, 1}}, k), tightkv::bad_argument);
  EXPECT_THROW(tightkv::stack({}), tightkv::bad_argument);
}

}  // namespace
