// SPDX-License-Identifier: Apache-2.0
/// The law of every op that reads rows: it sees neither the layout nor the other heads.
#pragma once

#include <cstddef>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <support/rows.hpp>
#include <tightkv/core/matrix.hpp>

namespace tests {

using heads = std::vector<int>;  // which of the random heads a plane has

/// What an op made of each head alone, in the plainest layout.
class alone {
 public:
  alone(extents const& e, int rows_per_head) : e_(e), rows_per_head_(rows_per_head) {
    for (int const length : e.lengths) scores_.emplace_back(rows_per_head, length, 0.0F);
  }

  tightkv::matrix_view<float> of(int h) { return scores_[static_cast<std::size_t>(h)].view(); }
  heads all() const {
    heads all(static_cast<std::size_t>(e_.heads()));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  tightkv::matrix<float> room() const { return {e_.heads() * rows_per_head_, e_.longest(), 0.0F}; }

  /// All heads together must give the same bits.
  void expect_equal_to(tightkv::matrix<float> const& got, char const* layout) {
    for (int h = 0; h < e_.heads(); ++h) {
      for (int i = 0; i < rows_per_head_ * e_.length(h); ++i) {
        int const t = i / rows_per_head_;
        float const x = got(h * rows_per_head_ + i % rows_per_head_, t);
        float const want = of(h)(i % rows_per_head_, t);
        ASSERT_TRUE(same(x, want)) << layout << ", head " << h << ", token " << t << ": " << x << ", alone " << want;
      }
    }
  }

 private:
  extents e_;
  int rows_per_head_;
  std::vector<tightkv::matrix<float>> scores_;
};

/// `score(keys, values, heads, out)` scores the rows of the given heads; whatever the layout, the result must be, bit
/// for bit, that of each head alone.
template <class T, class Score>
void expect_same_in_any_layout(in_every_layout<T>& caches, Score const& score, int rows_per_head = 1) {
  std::vector<alone> by_head;
  for (bool const varied : {false, true}) {
    auto& one = by_head.emplace_back(caches.keys(varied), rows_per_head);
    for (int h = 0; h < caches.keys(varied).heads(); ++h) {
      keys_and_values<T, hnd_layout> cache(caches.keys(varied).only(h), caches.values(varied).only(h));
      score(cache.keys, cache.values, heads{h}, one.of(h));
    }
  }
  caches.for_each([&]<class L>(keys_and_values<T, L>& cache) {
    auto& want = by_head[L::varied ? 1 : 0];
    auto out = want.room();
    score(cache.keys, cache.values, want.all(), out.view());
    want.expect_equal_to(out, L::name);
  });
}

}  // namespace tests
