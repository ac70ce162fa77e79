// SPDX-License-Identifier: Apache-2.0
/// What a smaller cache does to the model, and to its speed.
#pragma once

#include <span>

#include "next_token.hpp"
#include "session.hpp"

namespace tightkv::llama {

/// Feeds a continuation, and returns the logits that predict each of its last `scored` tokens.
matrix<float> predictions(session& engine, std::span<llama_token const> continuation, int scored);

/// How well `logits` predict the end of the continuation, and how far they are from the full cache's.
cli::prediction_quality quality(matrix<float> const& logits, matrix<float> const& of_full,
                                std::span<llama_token const> continuation);

/// Generates so many tokens greedily, from the last one fed, and returns tokens per second.
double decode_speed(session& engine, llama_token first, int tokens);

/// The largest difference between two sets of logits.
double largest_difference(matrix<float> const& a, matrix<float> const& b);

}  // namespace tightkv::llama
