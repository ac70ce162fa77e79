// SPDX-License-Identifier: Apache-2.0
/// What fusing keys and fusing values share.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <tightkv/mergers/dense.hpp>
#include <tightkv/mergers/head_groups.hpp>
#include <tightkv/mergers/head_projection.hpp>

namespace tightkv::detail {

inline void check_projections(char const* who, std::span<head_projection const> projections, head_groups const& groups,
                              int head_dim) {
  expects(projections.size() == groups.size(), who, "needs a projection per group", "projections", projections.size(),
          "groups", groups.size());
  for (auto const& p : projections) {
    check_projection(who, p);
    expects(p.heads == static_cast<int>(groups[0].size()) && p.head_dim() == head_dim, who,
            "projections must be of the group's heads", "channels", p.down.rows(), "expected",
            static_cast<int>(groups[0].size()) * head_dim);
    expects(p.rank() == projections[0].rank(), who, "all groups must have the same rank", "rank", p.rank(), "first",
            projections[0].rank());
  }
}

inline void check_weight(char const* who, char const* rule, matrix_view<float const> w, int rows, int cols) {
  expects(w.rows == rows && w.cols == cols, who, rule, "rows", w.rows, "cols", w.cols);
  expects(w.data != nullptr && w.rows >= 1 && w.cols >= 1, who, "weights must not be null");
}

inline void check_bias(char const* who, char const* rule, std::span<float const> bias, int rows) {
  expects(bias.empty() || static_cast<int>(bias.size()) == rows, who, rule, "numbers", bias.size(), "rows", rows);
}

/// Where the q-th query head of the merged model comes from: its group, and which of the group's heads it uses.
inline std::pair<std::size_t, int> place_of(head_groups const& groups, std::size_t q, attention_shape const& shape) {
  auto const kv = q / static_cast<std::size_t>(shape.group_size());
  return {kv / groups[0].size(), static_cast<int>(kv % groups[0].size())};
}

template <class T>
matrix_view<T> rows_of(matrix_view<T> m, int first, int count) {
  return {m.row(first), count, m.cols, m.stride};
}
template <class T>
matrix_view<T> columns_of(matrix_view<T> m, int first, int count) {
  return {m.data + first, m.rows, count, m.stride};
}

/// Rounds `from` into the part of `to` that begins at (row, col).
inline void put(dense const& from, matrix<float>& to, int row, int col) {
  for (Eigen::Index r = 0; r < from.rows(); ++r) {
    for (Eigen::Index c = 0; c < from.cols(); ++c) {
      to(row + static_cast<int>(r), col + static_cast<int>(c)) = static_cast<float>(from(r, c));
    }
  }
}

/// down^T W for each group: of rows that are the channels of KV heads, `rank` per group.
inline matrix<float> times_down(head_groups const& groups, std::span<head_projection const> projections,
                                matrix_view<float const> w) {
  int const rank = projections[0].rank();
  int const dim = projections[0].head_dim();
  matrix<float> result(static_cast<int>(groups.size()) * rank, w.cols);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    dense sum = dense::Zero(rank, w.cols);
    for (std::size_t i = 0; i < groups[g].size(); ++i) {
      auto const down = rows_of(projections[g].down.view(), static_cast<int>(i) * dim, dim);
      add_product(sum, transposed(to_dense(down)), to_dense(rows_of(w, groups[g][i] * dim, dim)));
    }
    put(sum, result, static_cast<int>(g) * rank, 0);
  }
  return result;
}

/// The same for a bias, which may be empty.
inline std::vector<float> times_down(head_groups const& groups, std::span<head_projection const> projections,
                                     std::span<float const> bias) {
  if (bias.empty()) return {};
  auto const column = times_down(groups, projections, {bias.data(), static_cast<int>(bias.size()), 1});
  std::vector<float> result;
  for (int r = 0; r < column.rows(); ++r) result.push_back(column(r, 0));
  return result;
}

}  // namespace tightkv::detail
