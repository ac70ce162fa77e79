// SPDX-License-Identifier: Apache-2.0
/// Fast compaction and gather move the rows that the plain ones move, and nothing else.
#include <support/unoptimised.hpp>

#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <support/instruction_sets.hpp>
#include <support/layouts.hpp>
#include <tightkv/core/executor.hpp>
#include <tightkv/ops/gather.hpp>
#include <tightkv/view/layouts.hpp>

namespace move_rows_test {

using namespace tests;

/// Each token with that chance, the first few in any case.
tightkv::plan random_plan(int heads, int tokens, double chance, int first) {
  std::vector<std::vector<int>> kept(static_cast<std::size_t>(heads));
  std::vector<int> after;
  std::mt19937 random(static_cast<unsigned>(tokens));
  for (auto& k : kept) {
    for (int t = 0; t < tokens; ++t) {
      if (t < first || static_cast<double>(random()) < chance * 0x1p32) k.push_back(t);
    }
    after.push_back(static_cast<int>(k.size()));
  }
  tightkv::plan p(std::vector<int>(kept.size(), tokens), after);
  for (int h = 0; h < heads; ++h) {
    auto const& k = kept[static_cast<std::size_t>(h)];
    std::copy(k.begin(), k.end(), p.kept(h).begin());
  }
  return p;
}

TEST(fast_move_rows, compacts_like_the_plain_kernel) {
  // Few heads are cut into slices of rows; 200 tokens are more than one block of addresses.
  for (int const head_count : {1, 3, 9}) {
    for (int const row_bytes : {1, 4, 100, 256, 1000}) {
      for (int const tokens : {0, 5, 64, 200}) {
        for (double const chance : {0.0, 0.3, 1.0}) {
          SCOPED_TRACE(testing::Message() << head_count << " x " << tokens << " x " << row_bytes << ", " << chance);
          auto const r =
              random_rows<std::byte>({std::vector<int>(static_cast<std::size_t>(head_count), tokens), row_bytes}, 1);
          auto const plan = random_plan(head_count, tokens, chance, 3);
          cache<hnd_layout> plain(r);
          cache<hnd_layout> fast(r);
          tightkv::compact(tightkv::plain_cpu{}, plan, plain.plane<std::byte>());
          tightkv::compact(tightkv::cpu{}, plan, fast.plane<std::byte>());
          ASSERT_TRUE(fast.memory() == plain.memory());
        }
      }
    }
  }
}

TEST(fast_move_rows, streams_what_moves_far) {
  // Rows of whole cache lines, in memory that starts on one, and such as do not.
  constexpr int tokens = 300;
  constexpr int row_bytes = 4096;  // 512 in a slice
  constexpr std::size_t size = std::size_t{tokens} * row_bytes;
  auto const plan = random_plan(1, tokens, 0.3, 3);
  auto const numbers = random_rows<std::byte>({{tokens}, row_bytes}, 1);
  for (std::size_t const skew : {std::size_t{0}, std::size_t{4}}) {
    for (auto const set : instruction_sets()) {
      alignas(64) static std::byte plain[size + 64];
      alignas(64) static std::byte fast[size + 64];
      auto const rows_in = [&](std::byte* memory) {
        return tightkv::hnd(memory + skew, {.heads = 1, .tokens = tokens, .head_dim = row_bytes});
      };
      for (auto* const memory : {plain, fast}) {
        for (int t = 0; t < tokens; ++t) std::copy_n(numbers.at(0, t, 0), row_bytes, rows_in(memory).head(0)[t].data);
      }
      tightkv::compact(tightkv::plain_cpu{}, plan, rows_in(plain));
      tightkv::compact(tightkv::cpu{}.with(set), plan, rows_in(fast));
      EXPECT_TRUE(std::equal(plain, plain + sizeof plain, fast)) << static_cast<int>(set) << ", skew " << skew;
    }
  }
}

TEST(fast_move_rows, gathers_like_the_plain_kernel) {
  for (int const head_count : {1, 9}) {
    auto const r = random_rows<std::byte>({std::vector<int>(static_cast<std::size_t>(head_count), 150), 300}, 1);
    auto const plan = random_plan(head_count, 150, 0.6, 0);
    rows const room({std::vector<int>(plan.lengths().begin(), plan.lengths().end()), 300}, 1);
    cache<hnd_layout> from(r);
    cache<packed_layout> plain(room);
    cache<packed_layout> fast(room);
    tightkv::gather(tightkv::plain_cpu{}, plan, from.plane<std::byte>(), plain.plane<std::byte>());
    tightkv::gather(tightkv::cpu{}, plan, from.plane<std::byte>(), fast.plane<std::byte>());
    EXPECT_TRUE(fast.memory() == plain.memory());
  }
}

}  // namespace move_rows_test
