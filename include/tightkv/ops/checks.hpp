// SPDX-License-Identifier: Apache-2.0
/// Checks that several ops share.
#pragma once

#include <tightkv/core/error.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/view/plane.hpp>

namespace tightkv::detail {

/// `scores` must have a row per head and room for the longest.
template <class P, class T, class Memory>
void check_scores(char const* who, P const& rows, matrix_view<T, Memory> scores) {
  expects(scores.rows == rows.heads(), who, "scores must have one row per head", "rows", scores.rows, "heads",
          rows.heads());
  int const tokens = longest(rows);
  expects(scores.cols >= tokens, who, "scores must have a column per token", "cols", scores.cols, "tokens", tokens);
  expects(scores.data != nullptr || scores.rows == 0 || tokens == 0, who, "scores must not be null");
}

}  // namespace tightkv::detail
