// SPDX-License-Identifier: Apache-2.0
/// Weights as floats: unpacks the tensor types the engine reads.
#pragma once

#include <span>

#include <tightkv/interop/gguf.hpp>

#include "thread_pool.hpp"

namespace engine {

/// Writes the elements of `from`, which must be F32, F16, BF16, Q8_0, Q4_0 or Q4_1, to `to`.
///
///     engine::dequantise(pool, file.tensor("output_norm.weight"), norm);
///
/// Q8_0 and Q4_0: `scale * code`; Q4_1: `scale * code + minimum`. A block of 32 shares its scale; four-bit codes of
/// elements i and i + 16 share a byte.
void dequantise(thread_pool& pool, tightkv::gguf::tensor const& from, std::span<float> to);

}  // namespace engine
