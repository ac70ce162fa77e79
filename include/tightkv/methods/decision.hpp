// SPDX-License-Identifier: Apache-2.0
/// What a method answers: which tokens stay, and the scores that say why.
#pragma once

#include <tightkv/core/matrix.hpp>
#include <tightkv/core/plan.hpp>

namespace tightkv {

/// `scores(h, t)` is NaN where token t was protected or not judged; there are none where a method has no scores.
template <executor E>
struct decision {
  basic_plan<typename E::memory> plan;
  owned_scores<E> scores;
};

}  // namespace tightkv
