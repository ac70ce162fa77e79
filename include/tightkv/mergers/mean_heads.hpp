// SPDX-License-Identifier: Apache-2.0
/// Mean pooling of heads: the baseline.
#pragma once

#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {

/// The new head is the mean of the old ones, and stands for each of them. Ainslie et al., GQA, arXiv:2305.13245.
///
/// Looks at nothing, commutes with RoPE, and loses most of a model that is not trained afterwards.
struct mean_heads {
  head_projection merge(group_statistics const& group) const;
};
static_assert(merger<mean_heads>);

}  // namespace tightkv
