// SPDX-License-Identifier: Apache-2.0
/// What a model expects next, and how far another expectation is from it.
#pragma once

#include <span>
#include <vector>

#include "tokenizer.hpp"

namespace tightkv::cli {

/// The distribution of the next token, as log-probabilities in nats.
class next_token {
 public:
  explicit next_token(std::span<float const> logits);

  double log_probability(engine::token t) const { return log_p_[static_cast<std::size_t>(t)]; }
  engine::token first_choice() const;
  /// KL(this || other), nats.
  double divergence_to(next_token const& other) const;

 private:
  std::vector<double> log_p_;
};

/// Means over the tokens that were scored.
struct prediction_quality {
  int tokens = 0;
  double nll = 0;       // nats
  double accuracy = 0;  // share of tokens that were the first choice
  double kl = 0;        // from a reference, nats

  void add(next_token const& expected, engine::token actual, double kl_from_reference);
  prediction_quality mean() const;
};

}  // namespace tightkv::cli
