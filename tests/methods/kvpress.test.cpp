// SPDX-License-Identifier: Apache-2.0
/// NVIDIA's kvpress gives the same scores and keeps the same tokens: `golden/kvpress/make.py` says how it was asked.
#include <cstdint>
#include <iterator>

#include <tightkv/methods/key_diff.hpp>
#include <tightkv/methods/l2_norm.hpp>
#include <tightkv/methods/lag_kv_global.hpp>
#include <tightkv/methods/snap_kv.hpp>
#include <tightkv/methods/tova.hpp>
#include <tightkv/scorers/lag_relative.hpp>

#include <support/method_laws.hpp>

namespace tests {
namespace kvpress_test {

namespace golden {
#include <golden/kvpress/scores.inc>
}  // namespace golden

tensor numbers(std::uint32_t seed, tensor shape) {
  for (std::size_t i = 0; i < shape.data.size(); ++i) {
    std::uint32_t x = static_cast<std::uint32_t>(i) * 2654435761U + seed * 40503U;
    x = (x ^ (x >> 16)) * 0x45d9f3bU;
    x ^= x >> 16;
    shape.data[i] = static_cast<float>(static_cast<int>(x >> 20) - 2048) / 512.0F;
  }
  return shape;
}
layer const content{numbers(1, {2, 75, 24}), numbers(2, {2, 75, 24}), numbers(3, {6, 75, 24})};
tightkv::budget const half = tightkv::keep_tokens{37};

/// The scores of the tokens from `first` on, and the tokens that stay.
template <std::size_t Scores, std::size_t Kept>
void expect_golden(outcome const& o, int first, float const (&scores)[2][Scores], int const (&stay)[2][Kept],
                   float tolerance) {
  for (int h = 0; h < 2; ++h) {
    for (int i = 0; i < static_cast<int>(Scores); ++i) {
      EXPECT_NEAR(o.score(h, first + i), scores[h][i], tolerance) << "head " << h << " token " << first + i;
    }
    expect_tokens(kept(o, h), {std::begin(stay[h]), std::end(stay[h])});
  }
}

TEST(kvpress, agrees_on_knorm) {
  expect_golden(decide(tightkv::l2_norm{.budget = half}, content), 0, golden::knorm_scores, golden::knorm_kept, 1e-5F);
}

TEST(kvpress, agrees_on_keydiff) {
  expect_golden(decide(tightkv::key_diff{.budget = half}, content), 0, golden::keydiff_scores, golden::keydiff_kept,
                1e-6F);
}

TEST(kvpress, agrees_on_snapkv) {
  expect_golden(decide(tightkv::snap_kv{.budget = half, .window = 16}, content), 0, golden::snapkv_scores,
                golden::snapkv_kept, 1e-6F);
}

TEST(kvpress, agrees_on_tova) {
  expect_golden(decide(tightkv::tova{.budget = half}, content), 0, golden::tova_scores, golden::tova_kept, 1e-6F);
}

TEST(kvpress, agrees_on_lagkv_ranks) {
  expect_golden(decide(tightkv::lag_kv_global{.budget = tightkv::keep_tokens{51}, .lag = 16}, content), 4,
                golden::lagkv_ranks, golden::lagkv_kept, 0.0F);
}

TEST(kvpress, agrees_on_lagkv_scores_which_it_halves) {
  engine_memory cache(content);
  auto scores = tightkv::make_scores(any_cpu{}, 2, 75);
  tightkv::lag_relative{.lag = 16, .sink = 4}.score(any_cpu{}, cache.float_view(), scores.view());
  for (int h = 0; h < 2; ++h) {
    for (int i = 0; i < 48; ++i) EXPECT_NEAR(scores(h, 4 + i), 2 * golden::lagkv_softmax[h][i], 1e-6F);
  }
}

}  // namespace kvpress_test
}  // namespace tests
