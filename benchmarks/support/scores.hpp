// SPDX-License-Identifier: Apache-2.0
/// Scores to choose from: other ones in every iteration, since a branch predictor learns those it sees twice, and in
/// the distributions that hurt: all equal, alike in their leading bits, many infinite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include <benchmark/benchmark.h>

#include <support/memory.hpp>
#include <tightkv/core/matrix.hpp>

namespace bench {

struct normal {
  static float at(std::uint64_t i) { return random_number(i); }
};
struct all_equal {
  static float at(std::uint64_t) { return 0.5F; }
};
/// The upper 20 of 32 bits are the same.
struct shared_leading_bits {
  static float at(std::uint64_t i) { return 1.0F + static_cast<float>(random_bits(i) & 0xfffU) * 0x1p-23F; }
};
/// Half of them, of either sign.
struct infinities {
  static float at(std::uint64_t i) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    std::uint64_t const die = random_bits(~i) % 4;
    return die == 0 ? infinity : die == 1 ? -infinity : random_number(i);
  }
};

/// 64 MiB of scores, a matrix after another.
template <class Distribution>
class score_matrices {
 public:
  explicit score_matrices(benchmark::State const& state)
      : heads(static_cast<int>(state.range(0))),
        tokens(static_cast<int>(state.range(1))),
        size_(static_cast<std::size_t>(heads) * static_cast<std::size_t>(tokens)) {}

  tightkv::matrix_view<float const> next() {
    at_ = at_ + 2 * size_ <= all_.size() ? at_ + size_ : 0;
    return {all_.data() + at_, heads, tokens};
  }
  std::size_t bytes() const noexcept { return size_ * sizeof(float); }

  int heads;
  int tokens;

 private:
  static huge_array<float> const& all() {
    static huge_array<float> const scores = [] {
      huge_array<float> made((std::size_t{64} << 20U) / sizeof(float));
      for (std::size_t i = 0; i < made.size(); ++i) made[i] = Distribution::at(i);
      return made;
    }();
    return scores;
  }

  huge_array<float> const& all_ = all();
  std::size_t size_;
  std::size_t at_ = 0;
};

}  // namespace bench
