// SPDX-License-Identifier: Apache-2.0
/// What a selector chooses from: per head, how many tokens there are, which are judged and how many stay.
#pragma once

#include <memory_resource>
#include <vector>

#include <tightkv/ops/token_range.hpp>

namespace tightkv {

/// Filled head by head with `add`.
struct candidates {
  std::pmr::vector<int> lengths;
  std::pmr::vector<token_range> judged;
  std::pmr::vector<int> kept;  // protected ones included

  explicit candidates(std::pmr::memory_resource* memory) : lengths(memory), judged(memory), kept(memory) {}

  void add(int tokens, protected_tokens const& protect, int keep) {
    lengths.push_back(tokens);
    kept.push_back(keep);
    judged.push_back(protect.judged(tokens));
  }
};

}  // namespace tightkv
