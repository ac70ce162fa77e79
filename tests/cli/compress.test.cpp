// SPDX-License-Identifier: Apache-2.0
// Worked examples for every method, and what the command writes.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "command.hpp"

namespace tests {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsSupersetOf;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

// Queries of zeros attend to every visible token alike.
dump watched_by_zeros(rows const& keys) {
  auto const tokens = keys.size();
  auto const head_dim = keys.front().size();
  return one_head(keys).add("queries", {1, tokens, head_dim}, std::vector<float>(tokens * head_dim));
}

}  // namespace

class compress : public cli {};

// --- one worked example per method ---

TEST_F(compress, lag_kv) {
  one_head({{9, 9}, {1, 3}, {2, 2}, {0, 0}, {4, 4}, {7, 7}}, {{5, 5}, {0, 0}, {2, 0}, {0, 0}, {1, 2}, {8, 8}})
      .write(in);
  auto const both = compressed("lag_kv", {"sink=1", "lag=2"});
  EXPECT_THAT(both.kept(), ElementsAre(0, 2, 3, 4, 5));
  EXPECT_THAT(both.scores(),
              ElementsAre(not_judged(), about(.783049), about(1.216951), not_judged(), not_judged(), not_judged()));
  auto const keys_only = compressed("lag_kv", {"sink=1", "lag=2", "value_weight=0"});
  EXPECT_THAT(keys_only.kept(), ElementsAre(0, 1, 3, 4, 5));
  EXPECT_THAT(keys_only.scores()[1], about(.587479));
}

TEST_F(compress, lag_kv_global) {
  one_head({{9, 9}, {1, 3}, {2, 2}, {0, 0}, {4, 4}, {7, 7}}, {{5, 5}, {0, 0}, {2, 0}, {0, 0}, {1, 2}, {8, 8}})
      .write(in);
  auto const got = compressed("lag_kv_global", {"sink=1", "lag=2", "tokens=5"});
  EXPECT_THAT(got.kept(), ElementsAre(0, 2, 3, 4, 5));
  EXPECT_THAT(got.scores(), ElementsAre(not_judged(), about(0.), about(.5), not_judged(), not_judged(), not_judged()));
}

TEST_F(compress, l2_norm) {
  one_head({{3, 4}, {0, 1}, {1, 1}, {2, 0}}).write(in);
  auto const got = compressed("l2_norm");
  EXPECT_THAT(got.kept(), ElementsAre(1, 2));
  EXPECT_THAT(got.scores(), ElementsAre(about(-5.), about(-1.), about(-1.414214), about(-2.)));
}

TEST_F(compress, h2o) {
  watched_by_zeros({{0}, {0}, {0}}).write(in);
  auto const got = compressed("h2o", {"tokens=2"});  // half of them recent
  EXPECT_THAT(got.kept(), ElementsAre(0, 2));
  EXPECT_THAT(got.scores(), ElementsAre(about(1.833333), about(.833333), not_judged()));
}

TEST_F(compress, h2o_sums_over_the_group) {
  one_head({{0}, {0}, {0}}).add("queries", {7, 3, 1}, std::vector<float>(21)).write(in);
  EXPECT_THAT(compressed("h2o", {"tokens=2", "recent=0"}).scores(),
              ElementsAre(about(7 * 11. / 6), about(7 * 5. / 6), about(7 / 3.)));
}

TEST_F(compress, streaming_llm) {
  one_head({{0}, {1}, {2}, {3}, {4}, {5}}).write(in);
  auto const got = compressed("streaming_llm", {"sink=1"});
  EXPECT_THAT(got.kept(), ElementsAre(0, 4, 5));
  EXPECT_THAT(got.names(), ElementsAre("kept", "keys", "values"));
}

TEST_F(compress, snap_kv) {
  watched_by_zeros({{0}, {0}, {0}, {0}, {0}}).write(in);  // one query: a fifth to each token
  std::vector<std::string> const settings{"window=1", "kernel=3", "tokens=3"};
  auto const average = compressed("snap_kv", settings);
  EXPECT_THAT(average.kept(), ElementsAre(1, 2, 4));
  EXPECT_THAT(average.scores(), ElementsAre(about(.4 / 3), about(.2), about(.2), about(.4 / 3), not_judged()));
  auto const maximum = compressed("snap_kv", {"window=1", "kernel=3", "tokens=3", "pooling=max"});
  EXPECT_THAT(maximum.kept(), ElementsAre(0, 1, 4));
}

TEST_F(compress, tova_keeps_the_same_tokens_in_all_heads) {
  auto const four = std::log(4.0F);
  auto const ten = std::log(10.0F);
  dump()
      .add<float>("keys", {2, 4, 1}, {0, four, 0, 0, /**/ ten, 0, 0, 0})
      .add<float>("values", {2, 4, 1}, {0, 1, 2, 3, /**/ 4, 5, 6, 7})
      .add<float>("queries", {2, 1, 1}, {1, 1})  // the last is enough
      .write(in);
  auto const got = compressed("tova");
  EXPECT_THAT(got.kept(), ElementsAre(0, 3, 0, 3));
  auto const mean = [](double a, double b) { return about((a / 7 + b / 13) / 2); };
  EXPECT_THAT(got.scores(), ElementsAre(mean(1, 10), mean(4, 1), mean(1, 1), not_judged(),  //
                                        mean(1, 10), mean(4, 1), mean(1, 1), not_judged()));
  EXPECT_THAT(got.values<float>("values"), ElementsAre(0, 3, 4, 7));
}

TEST_F(compress, key_diff) {
  one_head({{1, 0}, {1, 0}, {0, 1}}).write(in);
  auto const got = compressed("key_diff", {"tokens=2"});
  EXPECT_THAT(got.kept(), ElementsAre(0, 2));  // of two equal keys the earlier
  EXPECT_THAT(got.scores(), ElementsAre(about(-.894427), about(-.894427), about(-.447214)));
}

TEST_F(compress, key_diff_of_a_zero_key) {
  one_head({{1, 0}, {0, 0}, {1, 0}}).write(in);
  auto const got = compressed("key_diff", {"tokens=1"});
  EXPECT_THAT(got.kept(), ElementsAre(1));
  EXPECT_THAT(got.scores(), ElementsAre(about(-1.), about(0.), about(-1.)));
}

TEST_F(compress, random) {
  one_head(rows(100, {1})).write(in);
  auto const one = compressed("random", {"seed=1"}).kept();
  EXPECT_EQ(one.size(), 50U);
  EXPECT_TRUE(std::ranges::is_sorted(one));
  EXPECT_EQ(compressed("random", {"seed=1"}).kept(), one);
  EXPECT_NE(compressed("random", {"seed=2"}).kept(), one);
  EXPECT_THAT(compressed("random", {"sink=3", "recent=2", "keep=0.1"}).kept(), IsSupersetOf({0, 1, 2, 98, 99}));
}

// By attention per query the ranks are 2, 1, 0, by key_diff 1, 0, 2.
TEST_F(compress, key_diff_h2o_takes_the_better_rank) {
  watched_by_zeros({{1, 0}, {1, 0}, {0, 1}}).write(in);
  auto const got = compressed("key_diff_h2o", {"tokens=2"});
  EXPECT_THAT(got.kept(), ElementsAre(0, 2));
  EXPECT_THAT(got.scores(), ElementsAre(about(2.), about(1.), about(2.)));
}

// --- how many ---

class budgets : public cli {
 protected:
  // Tokens l2_norm keeps of n equal ones.
  std::size_t kept_of(std::size_t tokens, std::vector<std::string> const& settings) const {
    one_head(rows(tokens, {1})).write(in);
    return compressed("l2_norm", settings).kept().size();
  }
};

TEST_F(budgets, a_fraction_is_truncated_in_double) {
  EXPECT_EQ(kept_of(100, {"keep=0.29"}), 28U);
  EXPECT_EQ(kept_of(100, {"keep=0.57"}), 56U);
  EXPECT_EQ(kept_of(7, {"keep=0.1"}), 0U);
}

TEST_F(budgets, a_fraction_gives_way_to_what_is_protected) {
  EXPECT_EQ(kept_of(20, {"keep=0.1", "sink=3", "recent=2"}), 5U);
  EXPECT_EQ(kept_of(20, {"sink=30"}), 20U);
}

TEST_F(budgets, at_least_as_many_as_there_are_evict_nothing) {
  EXPECT_EQ(kept_of(5, {"tokens=5"}), 5U);
  EXPECT_EQ(kept_of(5, {"tokens=50"}), 5U);
  EXPECT_EQ(kept_of(5, {"keep=1"}), 5U);
  EXPECT_THAT(result(out).scores(), Each(not_judged()));
}

TEST_F(budgets, of_an_empty_cache) {
  dump().add<float>("keys", {2, 0, 4}, {}).add<float>("values", {2, 0, 4}, {}).write(in);
  auto const got = compressed("l2_norm");
  EXPECT_THAT(got.at("keys").shape, ElementsAre(2, 0, 4));
  EXPECT_THAT(got.at("kept").shape, ElementsAre(2, 0));
  EXPECT_THAT(got.at("scores").shape, ElementsAre(2, 0));
}

// --- what is written ---

TEST_F(compress, writes_the_kept_rows_and_their_numbers) {
  dump()
      .add<float>("keys", {2, 3, 2}, {9, 9, 1, 0, 2, 0, /**/ 1, 1, 8, 8, 0, 1})
      .add<float>("values", {2, 3, 2}, {0, 1, 2, 3, 4, 5, /**/ 6, 7, 8, 9, 10, 11})
      .write(in);
  auto const got = compressed("l2_norm", {"tokens=2"});
  EXPECT_THAT(got.names(), ElementsAre("kept", "keys", "scores", "values"));
  EXPECT_THAT(got.at("keys").shape, ElementsAre(2, 2, 2));
  EXPECT_THAT(got.at("values").shape, ElementsAre(2, 2, 2));
  EXPECT_THAT(got.at("kept").shape, ElementsAre(2, 2));
  EXPECT_THAT(got.at("scores").shape, ElementsAre(2, 3));
  EXPECT_THAT(got.kept(), ElementsAre(1, 2, 0, 2));
  EXPECT_THAT(got.values<float>("keys"), ElementsAre(1, 0, 2, 0, 1, 1, 0, 1));
  EXPECT_THAT(got.values<float>("values"), ElementsAre(2, 3, 4, 5, 6, 7, 10, 11));
}

TEST_F(compress, halves_stay_what_they_are_bit_for_bit) {
  using tightkv::half;
  auto const odd = std::bit_cast<half>(std::uint16_t{0x7e55});  // a NaN with a payload
  dump()
      .add<half>("keys", {1, 3, 2}, {half(5.0F), half(5.0F), half(1.0F), half(-0.0F), half(2.0F), half(6e-8F)})
      .add<half>("values", {1, 3, 2}, {half(0.0F), half(1.0F), odd, half(3.0F), half(4.0F), half(-0.0F)})
      .write(in);
  auto const got = compressed("l2_norm", {"tokens=2"});
  EXPECT_EQ(got.at("keys").dtype, tightkv::safetensors::dtype::f16);
  auto const bits = [](half h) { return std::bit_cast<std::uint16_t>(h); };
  std::vector<std::uint16_t> values;
  for (half const h : got.values<half>("values")) values.push_back(bits(h));
  EXPECT_THAT(values, ElementsAre(0x7e55, bits(half(3.0F)), bits(half(4.0F)), 0x8000));
}

TEST_F(compress, bfloat16) {
  using tightkv::bfloat16;
  std::vector<bfloat16> const keys{bfloat16(3e30F), bfloat16(1.0F), bfloat16(2.0F)};
  dump().add("keys", {1, 3, 1}, keys).add("values", {1, 3, 1}, keys).write(in);
  auto const got = compressed("key_diff", {"tokens=1"});
  EXPECT_EQ(got.at("keys").dtype, tightkv::safetensors::dtype::bf16);
  EXPECT_EQ(got.at("scores").dtype, tightkv::safetensors::dtype::f32);
}

TEST_F(compress, queries_may_have_another_type) {
  one_head({{0}, {0}, {0}}).add("queries", {1, 3, 1}, std::vector<tightkv::half>(3)).write(in);
  EXPECT_THAT(compressed("h2o", {"tokens=2"}).kept(), ElementsAre(0, 2));
}

TEST_F(compress, other_tensors_are_left_alone) {
  one_head({{2}, {1}}).add<std::int32_t>("positions", {2}, {0, 1}).write(in);
  EXPECT_THAT(compressed("l2_norm").names(), ElementsAre("kept", "keys", "scores", "values"));
}

TEST_F(compress, rows_that_are_not_finite_rank_last) {
  one_head({{nan}, {4}, {std::numeric_limits<float>::infinity()}, {3}, {5}}).write(in);
  auto const got = compressed("l2_norm", {"tokens=4"});
  EXPECT_THAT(got.kept(), ElementsAre(0, 1, 3, 4));  // of the two the earlier
  EXPECT_THAT(got.scores(), ElementsAre(not_judged(), about(-4.), not_judged(), about(-3.), about(-5.)));
}

// --- several layers ---

class layers : public cli {
 protected:
  layers() {
    dump d;
    for (char const* prefix : {"layers.2.", "layers.10."}) {
      d.add<float>(prefix + std::string("keys"), {1, 4, 1}, {4, 1, 3, 2});
      d.add<float>(prefix + std::string("values"), {1, 4, 1}, {0, 1, 2, 3});
    }
    d.write(in);
  }
};

TEST_F(layers, are_compressed_one_by_one) {
  auto const ran = compressing("l2_norm", {}, {"--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  auto const report = nlohmann::json::parse(ran.out)["layers"];
  ASSERT_EQ(report.size(), 2U);
  EXPECT_EQ(report[0]["layer"], 2);
  EXPECT_EQ(report[1]["layer"], 10);
  result const got(out);
  EXPECT_THAT(got.kept("layers.2.kept"), ElementsAre(1, 3));
  EXPECT_THAT(got.kept("layers.10.kept"), ElementsAre(1, 3));
}

TEST_F(layers, that_are_skipped_stay_whole) {
  auto const got = compressed("l2_norm", {"skip_layers=2"});
  EXPECT_THAT(got.kept("layers.2.kept"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(got.values<float>("layers.2.keys"), ElementsAre(4, 1, 3, 2));
  EXPECT_THAT(got.kept("layers.10.kept"), ElementsAre(1, 3));
}

TEST_F(layers, a_list_of_them_is_skipped) {
  auto const got = compressed("l2_norm", {"skip_layers=10,2"});
  EXPECT_THAT(got.kept("layers.10.kept"), ElementsAre(0, 1, 2, 3));
}

// --- in chunks ---

class chunks : public cli {};

TEST_F(chunks, lag_kv_keeps_the_same_in_any_chunking) {
  dump().add("keys", {2, 90, 5}, noise(900, 1)).add("values", {2, 90, 5}, noise(900, 2)).write(in);
  compressed("lag_kv", {"lag=8", "keep=0.3"});
  auto const at_once = text_in(out);
  for (char const* n : {"1", "7", "64"}) {
    compressed("lag_kv", {"lag=8", "keep=0.3"}, {"--chunk", n});
    EXPECT_EQ(text_in(out), at_once) << n;
  }
}

// A row is dropped at each step; {0, 1, 2} is judged when 2 arrives, {0, 2, 3} when 3 does.
TEST_F(chunks, h2o_carries_its_sums_along) {
  watched_by_zeros({{0}, {0}, {0}, {0}}).write(in);
  auto const got = compressed("h2o", {}, {"--chunk", "1"});
  EXPECT_THAT(got.kept(), ElementsAre(0, 3));
  // Token 0 was judged twice, and the later score counts: 1 + 1/2 + 1/3 + 1/3.
  EXPECT_THAT(got.scores(), ElementsAre(about(13. / 6), about(5. / 6), about(2. / 3), not_judged()));
}

TEST_F(chunks, streaming_llm_drops_what_leaves_its_window) {
  one_head({{0}, {1}, {2}, {3}, {4}, {5}, {6}}).write(in);
  EXPECT_THAT(compressed("streaming_llm", {"sink=1", "tokens=3"}, {"--chunk", "2"}).kept(), ElementsAre(0, 5, 6));
}

// Of 8 tokens 4 stay, however few have come: the fraction is of the file.
TEST_F(chunks, a_fraction_is_of_the_whole_file) {
  one_head({{1}, {8}, {2}, {7}, {3}, {6}, {4}, {5}}).write(in);
  EXPECT_THAT(compressed("l2_norm", {}, {"--chunk", "3"}).kept(), ElementsAre(0, 2, 4, 6));
}

TEST_F(chunks, longer_than_the_file_are_one) {
  one_head({{3, 4}, {0, 1}, {1, 1}, {2, 0}}).write(in);
  EXPECT_THAT(compressed("l2_norm", {}, {"--chunk", "2147483647"}).kept(), ElementsAre(1, 2));
}

// --- how it runs ---

TEST_F(compress, the_same_bytes_from_any_executor_and_threads) {
  dump()
      .add("keys", {3, 40, 5}, noise(600, 1))
      .add("values", {3, 40, 5}, noise(600, 2))
      .add("queries", {9, 40, 5}, noise(1800, 3))
      .write(in);
  compressed("key_diff_h2o");
  auto const bytes = text_in(out);
  compressed("key_diff_h2o", {}, {"--threads", "3"});
  EXPECT_EQ(text_in(out), bytes);
  compressed("key_diff_h2o", {}, {"--executor", "plain"});
  EXPECT_EQ(text_in(out), bytes);
}

TEST_F(compress, json_is_one_object) {
  one_head({{3, 4}, {0, 1}, {1, 1}, {2, 0}}).write(in);
  auto const ran = compressing("l2_norm", {}, {"--json"});
  EXPECT_EQ(ran.status, 0);
  EXPECT_EQ(ran.err, "");
  auto const report = nlohmann::json::parse(ran.out);
  EXPECT_EQ(report["method"], "l2_norm");
  ASSERT_EQ(report["layers"].size(), 1U);
  auto const& layer = report["layers"][0];
  EXPECT_EQ(layer["kv_heads"], 1);
  EXPECT_EQ(layer["head_dim"], 2);
  EXPECT_EQ(layer["dtype"], "F32");
  EXPECT_EQ(layer["tokens"], 4);
  EXPECT_EQ(layer["kept"], 2);
  EXPECT_EQ(layer["kv_bytes_before"], 64);
  EXPECT_EQ(layer["kv_bytes_after"], 32);
  EXPECT_GE(layer["compress_ms"], 0);
}

TEST_F(compress, replaces_an_older_output) {
  one_head({{3, 4}, {0, 1}}).write(in);
  put(out, "something older and longer than the new file, which it must not shine through" + std::string(4000, '.'));
  EXPECT_THAT(compressed("l2_norm").kept(), ElementsAre(1));
}

}  // namespace tests
