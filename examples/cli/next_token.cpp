// SPDX-License-Identifier: Apache-2.0
#include "next_token.hpp"

#include <algorithm>
#include <cmath>

namespace tightkv::cli {

next_token::next_token(std::span<float const> logits) : log_p_(logits.begin(), logits.end()) {
  double const most = *std::max_element(log_p_.begin(), log_p_.end());
  double sum = 0;
  for (double const x : log_p_) sum += std::exp(x - most);
  double const normaliser = most + std::log(sum);
  for (double& x : log_p_) x -= normaliser;
}

engine::token next_token::first_choice() const {
  return static_cast<engine::token>(std::max_element(log_p_.begin(), log_p_.end()) - log_p_.begin());
}

double next_token::divergence_to(next_token const& other) const {
  double sum = 0;
  for (std::size_t i = 0; i < log_p_.size(); ++i) sum += std::exp(log_p_[i]) * (log_p_[i] - other.log_p_[i]);
  return std::max(0.0, sum);
}

void prediction_quality::add(next_token const& expected, engine::token actual, double kl_from_reference) {
  ++tokens;
  nll -= expected.log_probability(actual);
  accuracy += expected.first_choice() == actual ? 1 : 0;
  kl += kl_from_reference;
}

prediction_quality prediction_quality::mean() const { return {tokens, nll / tokens, accuracy / tokens, kl / tokens}; }

}  // namespace tightkv::cli
