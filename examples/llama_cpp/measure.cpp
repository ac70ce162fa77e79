// SPDX-License-Identifier: Apache-2.0
#include "measure.hpp"

#include <algorithm>
#include <cmath>

#include "stopwatch.hpp"

namespace tightkv::llama {

matrix<float> predictions(session& engine, std::span<llama_token const> continuation, int scored) {
  detail::expects(1 <= scored && scored < static_cast<int>(continuation.size()), "--score-last",
                  "there are not so many tokens after the first", "score-last", scored, "tokens", continuation.size());
  return engine.feed(continuation.first(continuation.size() - 1), scored);
}

cli::prediction_quality quality(matrix<float> const& logits, matrix<float> const& of_full,
                                std::span<llama_token const> continuation) {
  cli::prediction_quality sum;
  auto const targets = continuation.last(static_cast<std::size_t>(logits.rows()));
  for (int r = 0; r < logits.rows(); ++r) {
    auto const row = [&](matrix<float> const& m) {
      return cli::next_token({m.view().row(r), static_cast<std::size_t>(m.cols())});
    };
    auto const expected = row(logits);
    sum.add(expected, targets[static_cast<std::size_t>(r)], row(of_full).divergence_to(expected));
  }
  return sum.mean();
}

double decode_speed(session& engine, llama_token first, int tokens) {
  llama_token next = engine.feed_one(first);  // the graph for one token is made once, outside the clock
  stopwatch const clock;
  for (int i = 0; i < tokens; ++i) next = engine.feed_one(next);
  return tokens / clock.milliseconds() * 1e3;
}

double largest_difference(matrix<float> const& a, matrix<float> const& b) {
  double most = 0;
  for (int r = 0; r < a.rows(); ++r) {
    for (int c = 0; c < a.cols(); ++c) most = std::max(most, std::abs(static_cast<double>(a(r, c)) - b(r, c)));
  }
  return most;
}

}  // namespace tightkv::llama
