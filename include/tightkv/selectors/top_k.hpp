// SPDX-License-Identifier: Apache-2.0
/// Keeps the protected tokens and the best of the others.
#pragma once

#include <tightkv/core/matrix.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/ops/select_top_k.hpp>
#include <tightkv/selectors/candidates.hpp>

namespace tightkv {

/// Head h keeps `from.kept[h]` tokens: all outside `from.judged[h]`, and the best inside. Ties go to the earlier token,
/// NaN ranks last, kept tokens ascend.
///
///     tightkv::candidates from(ex.resource());
///     from.add(n, {.sink = 4, .recent = 32}, n / 2);
///     tightkv::plan const plan = tightkv::top_k{}.select(ex, scores.view(), from);
struct top_k {
  template <executor E>
  basic_plan<typename E::memory> select(E const& ex, matrix_view<float const, typename E::memory> scores,
                                        candidates const& from) const {
    auto p = make_plan(ex, from.lengths, from.kept);
    select_top_k(ex, scores, from.judged, p);
    return p;
  }
};

}  // namespace tightkv
