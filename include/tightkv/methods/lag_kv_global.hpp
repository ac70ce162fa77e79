// SPDX-License-Identifier: Apache-2.0
/// LagKV as kvpress has it: ranks within the partitions, one budget for the whole sequence.
#pragma once

#include <algorithm>

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/scorers/lag_rank.hpp>

namespace tightkv {

/// Tokens are ranked within their partition and the best ranks of the head stay, so that every partition loses about
/// the same; sinks, the last partition and the remainder are protected. Caches of fewer than sink + 2 lag tokens keep
/// the sinks and the newest. LagKV (arXiv:2504.04704) in the form of NVIDIA's kvpress; ties are ours: the earlier token
/// stays.
///
///     auto const plan = tightkv::decide(ex, tightkv::lag_kv_global{.budget = tightkv::keep_ratio{0.5}}, view).plan;
///
/// Needs keys and values. Meant for one shot after the prompt; called again, it judges what is left afresh.
struct lag_kv_global {
  static constexpr method_info info{.name = "lag_kv_global",
                                    .summary = "LagKV with ranks and one budget for the sequence, as in kvpress.",
                                    .needs = "keys and values",
                                    .paper = "Liang et al., LagKV, arXiv:2504.04704, as in kvpress",
                                    .paper_defaults = "sink 4, lag 128"};

  tightkv::budget budget = keep_ratio{};
  int lag = 128;
  int sink = 4;

  static void parameters(auto& self, auto&& visit) {
    visit("keep", self.budget, "fraction of all tokens kept");
    visit("lag", self.lag, "tokens in a partition");
    visit("sink", self.sink, "first tokens, protected");
  }

  using state = capacity;

  template <executor E, view_with_values V>
  decision<E> decide(E const& ex, V const& view, state& limit) const {
    detail::expects(lag >= 2, "lag_kv_global", "lag must be at least 2", "lag", lag);
    protected_tokens{.sink = sink}.check("lag_kv_global");
    lag_rank const ranks{.lag = lag, .sink = sink};
    candidates from(ex.resource());
    std::ptrdiff_t never_judged = 0;
    for (int h = 0; h < view.heads(); ++h) {
      int const tokens = view.tokens(h);
      auto const judged = ranks.judged_tokens(tokens);
      protected_tokens protect{.sink = sink, .recent = judged.size() == 0 ? 0 : tokens - judged.end};
      int const kept = std::min(tokens, limit.of(budget, view, h, protect.count()));
      if (judged.size() == 0) {  // too short to judge: sinks and the newest
        protect.recent = std::max(0, kept - sink);
        never_judged += tokens - kept;
      }
      from.add(tokens, protect, kept);
    }
    auto decided = keep_best(ex, view, ranks, from);
    decided.plan.nan_scores -= never_judged;  // what had no score is not counted with what had a bad one
    return decided;
  }
};
static_assert(method<lag_kv_global>);

}  // namespace tightkv
