// SPDX-License-Identifier: Apache-2.0
/// Saved states whose rows change places, or are turned: harmless ones, which show what llama.cpp's own rounding does,
/// and harmful ones, which show what an error looks like.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "session.hpp"

namespace tightkv::llama {

/// Which token's row comes to be where.
using order = std::vector<int>;

order shuffled(int tokens, unsigned seed);

enum class side { keys, values };

/// A state in which the rows of each KV head of each layer have the order that `order_of` says. Where it tells keys
/// from values, they no longer belong together.
std::vector<std::byte> moved(std::vector<std::byte> const& state, int heads,
                             std::function<order(int layer, int head, side)> const& order_of);

/// A state whose keys are turned by RoPE as if their tokens had come later, once for each of `shifts`, and rounded to
/// their type each time. Needs keys of f32 or f16.
std::vector<std::byte> turned(std::vector<std::byte> const& state, session const& engine,
                              std::vector<int> const& shifts);

}  // namespace tightkv::llama
