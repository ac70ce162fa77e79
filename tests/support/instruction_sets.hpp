// SPDX-License-Identifier: Apache-2.0
/// Fast kernels held against plain ones, with every instruction set that runs here.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <support/rows.hpp>
#include <tightkv/core/executor.hpp>
#include <tightkv/core/matrix.hpp>

namespace tests {

inline std::vector<tightkv::instruction_set> instruction_sets() {
  std::vector<tightkv::instruction_set> sets;
  for (auto const set :
       {tightkv::instruction_set::neon, tightkv::instruction_set::x86_64_v3, tightkv::instruction_set::x86_64_v4}) {
    if (tightkv::runs(set)) sets.push_back(set);
  }
  return sets;
}

/// `score(executor, out)` must fill `out` (heads x tokens) with the same bits whatever the instruction set.
template <class Score>
void expect_scores_as_plain(int heads, int tokens, Score const& score) {
  constexpr float untouched = -77.0F;
  tightkv::matrix<float> plain(heads, tokens, untouched);
  score(tightkv::plain_cpu{}, plain.view());
  for (auto const set : instruction_sets()) {
    tightkv::matrix<float> fast(heads, tokens, untouched);
    score(tightkv::cpu{}.with(set), fast.view());
    for (int h = 0; h < heads; ++h) {
      for (int t = 0; t < tokens; ++t) {
        ASSERT_TRUE(same(fast(h, t), plain(h, t)))
            << "instruction set " << static_cast<int>(set) << ", head " << h << ", token " << t << ": " << fast(h, t)
            << ", plain " << plain(h, t);
      }
    }
  }
}

/// Channels of real models, of which 80 and 112 are no powers of two, and such as fill no vector.
inline constexpr int any_head_dims[] = {1, 7, 16, 33, 64, 80, 100, 112, 128, 256};

}  // namespace tests
