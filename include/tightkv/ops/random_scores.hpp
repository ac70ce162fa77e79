// SPDX-License-Identifier: Apache-2.0
/// `random_scores(ex, tokens, seed, out)`: a number in [0, 1) for each token, the same wherever it is computed.
#pragma once

#include <cstdint>

#include <tightkv/core/config.hpp>
#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>

namespace tightkv {
namespace detail {

/// SplitMix64's finaliser, over head and token (Steele, Lea, Flood, OOPSLA 2014).
TIGHTKV_HD inline float random_score(std::uint64_t seed, int head, int token) noexcept {
  std::uint64_t z =
      seed + 0x9e3779b97f4a7c15U * ((static_cast<std::uint64_t>(head) << 32) + static_cast<std::uint64_t>(token) + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  z ^= z >> 31;
  return static_cast<float>(z >> 40) * 0x1p-24F;
}

}  // namespace detail

/// out(h, t) depends only on the seed, the head and `tokens(h, t)`, the token's number in the sequence: a token keeps
/// its score when rows before it are evicted.
struct random_scores_fn {
  template <executor E>
  void operator()(E const& ex, matrix_view<int const, typename E::memory> tokens, std::uint64_t seed,
                  scores_view<E> out) const {
    detail::expects(tokens.rows == out.rows && tokens.cols >= out.cols, "random_scores",
                    "needs the number of each token", "rows", tokens.rows, "cols", tokens.cols);
    kernel<random_scores_fn, E>::run(ex, tokens, seed, out);
  }
};
inline constexpr random_scores_fn random_scores{};

template <class F>
struct kernel<random_scores_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, matrix_view<int const> tokens, std::uint64_t seed,
                  matrix_view<float> out) {
    ex.for_each_index(out.rows, [&](int h) {
      for (int t = 0; t < out.cols; ++t) out(h, t) = detail::random_score(seed, h, tokens(h, t));
    });
  }
};

template <class F>
struct kernel<random_scores_fn, basic_cpu<F>> : kernel<random_scores_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
