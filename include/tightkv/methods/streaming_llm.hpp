// SPDX-License-Identifier: Apache-2.0
/// StreamingLLM: keeps the attention sinks and the most recent tokens.
#pragma once

#include <algorithm>
#include <memory_resource>
#include <vector>

#include <tightkv/methods/concept.hpp>
#include <tightkv/methods/keep_best.hpp>
#include <tightkv/ops/keep_outside.hpp>

namespace tightkv {

/// The first tokens soak up attention whatever they say; the rest of the budget is a sliding window. Xiao et al., ICLR
/// 2024, arXiv:2309.17453. Positions are the engine's: this only says which rows stay.
///
///     auto const plan = tightkv::decide(ex, tightkv::streaming_llm{.budget = tightkv::keep_tokens{1024}}, view).plan;
///
/// Needs no keys or values: it looks at lengths alone. Has no scores.
struct streaming_llm {
  static constexpr method_info info{.name = "streaming_llm",
                                    .summary = "Keeps the first tokens and the most recent.",
                                    .needs = "nothing",
                                    .paper = "Xiao et al., ICLR 2024, arXiv:2309.17453",
                                    .paper_defaults = "4 sinks; positions counted inside the cache"};

  tightkv::budget budget = keep_ratio{};
  int sink = 4;

  static void parameters(auto& self, auto&& visit) {
    visit("keep", self.budget, "fraction of all tokens kept");
    visit("sink", self.sink, "first tokens, protected");
  }

  using state = capacity;

  template <executor E, class V>
  decision<E> decide(E const& ex, V const& view, state& limit) const {
    auto const from = within(ex, view, budget, {.sink = sink}, limit);
    std::pmr::vector<token_range> evicted(ex.resource());
    for (std::size_t h = 0; h < from.kept.size(); ++h) {
      int const sinks = std::min(sink, from.kept[h]);
      evicted.push_back({sinks, sinks + from.lengths[h] - from.kept[h]});
    }
    auto p = make_plan(ex, from.lengths, from.kept);
    keep_outside(ex, evicted, p);
    return {std::move(p), {}};
  }
};
static_assert(method<streaming_llm>);

}  // namespace tightkv
