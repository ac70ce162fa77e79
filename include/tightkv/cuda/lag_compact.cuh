// SPDX-License-Identifier: Apache-2.0
/// `lag_compact` on a GPU: the three steps, each with all heads at once.
#pragma once

#include <tightkv/cuda/compact.cuh>
#include <tightkv/cuda/lag_scores.cuh>
#include <tightkv/cuda/select_partitions.cuh>
#include <tightkv/ops/lag_compact.hpp>

namespace tightkv {

template <>
struct kernel<lag_compact_fn, cuda> : detail::lag_compact_by_steps {};

}  // namespace tightkv
