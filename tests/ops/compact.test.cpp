// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/ops/compact.hpp>
#include <tightkv/ops/gather.hpp>
#include <tightkv/view/layouts.hpp>

namespace compact_test {

using tightkv::cpu;
using tightkv::plan;

std::vector<float> counted(int n) {
  std::vector<float> v(static_cast<std::size_t>(n));
  std::iota(v.begin(), v.end(), 0.0F);
  return v;
}

TEST(compact, moves_kept_rows_to_the_front_and_leaves_the_rest_as_it_was) {
  std::vector<float> rows{0, 1, /**/ 10, 11, /**/ 20, 21, /**/ 30, 31};
  auto const p = plan::of({4}, {{1, 3}});
  auto const lengths = tightkv::compact(cpu{}, p, tightkv::hnd(rows.data(), {1, 4, 2}));
  EXPECT_EQ(rows, (std::vector<float>{10, 11, 30, 31, /**/ 20, 21, 30, 31}));
  ASSERT_EQ(lengths.size(), 1U);
  EXPECT_EQ(lengths[0], 2);
}

TEST(compact, of_everything_or_nothing_moves_nothing) {
  auto rows = counted(8);
  tightkv::compact(cpu{}, plan::of({4}, {{0, 1, 2, 3}}), tightkv::hnd(rows.data(), {1, 4, 2}));
  tightkv::compact(cpu{}, plan::of({4}, {{}}), tightkv::hnd(rows.data(), {1, 4, 2}));
  EXPECT_EQ(rows, counted(8));
}

TEST(compact, moves_rows_of_several_planes_of_any_type_and_layout_by_one_plan) {
  std::vector<float> keys = counted(2 * 3 * 2);
  std::vector<tightkv::half> values;
  for (int i = 0; i < 12; ++i) values.emplace_back(static_cast<float>(i));
  std::array<float, 6> scales{0, 1, 2, 3, 4, 5};
  std::array<std::byte, 6> codes{};
  for (std::size_t i = 0; i < 6; ++i) codes[i] = std::byte(i);
  auto const p = plan::of({3, 3}, {{0, 2}, {1, 2}});
  tightkv::compact(cpu{}, p, tightkv::hnd(keys.data(), {2, 3, 2}), tightkv::nhd(values.data(), {2, 3, 2}),
                   tightkv::transposed(scales.data(), {2, 3, 1}), tightkv::hnd(codes.data(), {2, 3, 1}));
  EXPECT_EQ(keys, (std::vector<float>{0, 1, 4, 5, 4, 5, /**/ 8, 9, 10, 11, 10, 11}));
  std::vector<float> moved;
  for (auto const v : values) moved.push_back(static_cast<float>(v));
  EXPECT_EQ(moved, (std::vector<float>{0, 1, 6, 7, /**/ 8, 9, 10, 11, /**/ 8, 9, 10, 11}));
  EXPECT_EQ(scales, (std::array<float, 6>{0, 2, 2, /**/ 4, 5, 5}));
  EXPECT_EQ(codes, (std::array{std::byte{0}, std::byte{2}, std::byte{2}, std::byte{4}, std::byte{5}, std::byte{5}}));
}

TEST(compact, moves_the_bits_of_nan_and_of_bytes_unchanged) {
  std::vector<tightkv::half> rows(2);
  rows[1].bits = 0x7d01;  // a signalling NaN with a payload
  tightkv::compact(cpu{}, plan::of({2}, {{1}}), tightkv::hnd(rows.data(), {1, 2, 1}));
  EXPECT_EQ(rows[0].bits, 0x7d01);
}

TEST(compact, twice_knows_no_more_than_the_lengths) {
  auto rows = counted(12);
  auto const whole = tightkv::hnd(rows.data(), {2, 6, 1});
  auto const first = plan::of({6, 6}, {{0, 2, 4, 5}, {1, 3}});
  auto const lengths = tightkv::compact(cpu{}, first, whole);
  tightkv::compact(cpu{}, plan::of({4, 2}, {{1, 3}, {1}}), whole.with_lengths(lengths.data()));
  EXPECT_EQ(rows[0], 2);
  EXPECT_EQ(rows[1], 5);
  EXPECT_EQ(rows[6], 9);
}

TEST(compact, that_fails_leaves_all_planes_as_they_were) {
  auto keys = counted(8);
  auto values = counted(8);
  auto state = counted(3);
  auto const k = tightkv::hnd(keys.data(), {1, 4, 2});
  auto const v = tightkv::hnd(values.data(), {1, 4, 2});
  auto const too_short = tightkv::hnd(state.data(), {1, 3, 1});
  auto const two_heads = tightkv::hnd(state.data(), {2, 1, 1});
  auto const refused = [&](plan const& p, auto const&... planes) {
    EXPECT_THROW(tightkv::compact(cpu{}, p, planes...), tightkv::bad_argument);
    EXPECT_EQ(keys, counted(8));
    EXPECT_EQ(values, counted(8));
    EXPECT_EQ(state, counted(3));
  };
  refused(plan::of({4}, {{1, 3}}), k, v, too_short);
  refused(plan::of({4}, {{1, 3}}), k, v, two_heads);
  refused(plan::of({4}, {{3, 1}}), k, v);       // does not ascend
  refused(plan::of({4}, {{1, 1}}), k, v);       // twice the same
  refused(plan::of({4}, {{1, 4}}), k, v);       // no such token
  refused(plan::of({4}, {{-1, 2}}), k, v);      // nor such
  refused(plan::of({5}, {{1, 3}}), k, v);       // another length
  refused(plan::of({4, 4}, {{1}, {1}}), k, v);  // another number of heads
}

TEST(compact, of_an_empty_cache_is_nothing) {
  auto const none = tightkv::hnd(static_cast<float*>(nullptr), {2, 0, 4});
  EXPECT_EQ(tightkv::compact(cpu{}, plan::of({0, 0}, {{}, {}}), none).size(), 2U);
}

TEST(gather, copies_kept_rows_and_leaves_the_cache_alone) {
  auto const rows = counted(8);
  std::vector<float> out(6, -1.0F);
  tightkv::gather(cpu{}, plan::of({2, 2}, {{1}, {0}}), tightkv::hnd(rows.data(), {2, 2, 2}),
                  tightkv::nhd(out.data(), {2, 1, 2}));
  EXPECT_EQ(out, (std::vector<float>{2, 3, 4, 5, -1, -1}));
  EXPECT_EQ(rows, counted(8));
}

TEST(gather, refuses_a_destination_of_another_shape_before_it_writes) {
  auto const rows = counted(8);
  std::vector<float> out(8, -1.0F);
  auto const p = plan::of({2, 2}, {{1}, {0}});
  auto const from = tightkv::hnd(rows.data(), {2, 2, 2});
  auto const refused = [&](plan const& q, tightkv::kv_shape const& to) {
    EXPECT_THROW(tightkv::gather(cpu{}, q, from, tightkv::hnd(out.data(), to)), tightkv::bad_argument);
    EXPECT_EQ(out, std::vector<float>(8, -1.0F));
  };
  refused(p, {1, 1, 2});
  refused(p, {2, 2, 2});
  refused(p, {2, 1, 1});
  refused(plan::of({2, 2}, {{2}, {0}}), {2, 1, 2});
  refused(plan::of({2, 3}, {{1}, {0}}), {2, 1, 2});
}

}  // namespace compact_test
