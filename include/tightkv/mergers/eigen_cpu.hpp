// SPDX-License-Identifier: Apache-2.0
/// `eigen_cpu`: the CPU with Eigen's matrix products.
#pragma once

#include <tightkv/core/executor.hpp>
#include <tightkv/ops/gram_update.hpp>

namespace tightkv {

/// As `cpu`, for `gram_update` alone: tiles of 256 tokens, in double, through Eigen's symmetric rank update. Differs
/// from the plain kernel by the order of its sums, a few parts in 1e16 of the sum of magnitudes.
///
///     keys.add(tightkv::eigen_cpu{}, cached_keys);
class eigen_cpu : public basic_cpu<> {
  using basic_cpu::basic_cpu;
};

}  // namespace tightkv
