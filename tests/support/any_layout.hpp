// SPDX-License-Identifier: Apache-2.0
/// The law of every op that reads rows: it sees neither the layout nor the other heads. Include it first.
#pragma once

#include <cstddef>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <support/unoptimised.hpp>

#include <support/layouts.hpp>
#include <support/rows.hpp>
#include <tightkv/core/matrix.hpp>

namespace tests {

using heads = std::vector<int>;  // which of the random heads a plane has

/// What an op made of each head alone, in the plainest layout.
class alone {
 public:
  alone(extents const& e, int rows_per_head) : e_(e), rows_per_head_(rows_per_head), all_(e.lengths.size()) {
    std::iota(all_.begin(), all_.end(), 0);
    for (int const length : e.lengths) scores_.emplace_back(rows_per_head, length, 0.0F);
  }

  tightkv::matrix_view<float> of(int h) { return scores_[static_cast<std::size_t>(h)].view(); }
  heads const& all() const { return all_; }
  /// Room for the scores of all heads together.
  [[gnu::noinline]] tightkv::matrix_view<float> room() {
    together_ = {e_.heads() * rows_per_head_, e_.longest(), 0.0F};
    return together_.view();
  }

  /// What is in that room must be the same bits.
  void expect_room_is_equal(char const* layout) {
    for (int h = 0; h < e_.heads(); ++h) {
      for (int i = 0; i < rows_per_head_ * e_.length(h); ++i) {
        int const t = i / rows_per_head_;
        float const x = together_(h * rows_per_head_ + i % rows_per_head_, t);
        float const want = of(h)(i % rows_per_head_, t);
        ASSERT_TRUE(same(x, want)) << layout << ", head " << h << ", token " << t << ": " << x << ", alone " << want;
      }
    }
  }

 private:
  extents e_;
  int rows_per_head_;
  heads all_;
  std::vector<tightkv::matrix<float>> scores_;
  tightkv::matrix<float> together_;
};

/// `score(keys, values, heads, out)` scores the rows of the given heads; whatever the layout, the result must be, bit
/// for bit, that of each head alone.
template <class T, class Score>
void expect_same_in_any_layout(int head_dim, Score const& score, int rows_per_head = 1) {
  std::vector<rows> keys;
  std::vector<rows> values;
  std::vector<alone> by_head;
  for (bool const varied : {false, true}) {
    auto const e = usual_extents(varied, head_dim);
    keys.push_back(random_rows<T>(e, 1));
    values.push_back(random_rows<T>({e.lengths, 32}, 2));
    by_head.emplace_back(e, rows_per_head);
    for (int h = 0; h < e.heads(); ++h) {
      cache<hnd_layout> k(keys.back().only(h));
      cache<hnd_layout> v(values.back().only(h));
      score(k.plane<T>(), v.plane<T>(), heads{h}, by_head.back().of(h));
    }
  }
  for_each_layout([&](auto tag) {
    using layout = typename decltype(tag)::type;
    constexpr std::size_t i = layout::varied ? 1 : 0;
    cache<layout> k(keys[i]);
    cache<layout> v(values[i]);
    score(k.template plane<T>(), v.template plane<T>(), by_head[i].all(), by_head[i].room());
    by_head[i].expect_room_is_equal(layout::name);
  });
}

}  // namespace tests
