// SPDX-License-Identifier: Apache-2.0
/// Two-dimensional arrays of numbers: scores are heads x tokens.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory_resource>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <tightkv/core/config.hpp>
#include <tightkv/core/executor.hpp>

namespace tightkv {

/// A caller's matrix: `view(row, column)`, rows `stride` elements apart. Where rows have different lengths (heads with
/// different numbers of tokens) the columns past a row's end are not touched.
template <class T, class Memory = host_memory>
struct matrix_view {
  using memory = Memory;

  T* data = nullptr;
  int rows = 0;
  int cols = 0;
  std::ptrdiff_t stride = cols;

  TIGHTKV_HD T& operator()(int row, int col) const noexcept { return data[row * stride + col]; }
  TIGHTKV_HD T* row(int r) const noexcept { return data + r * stride; }

  // NOLINTNEXTLINE(google-explicit-constructor): as `T*` converts to `T const*`
  template <class U>
  requires(std::is_same_v<U, T const> && !std::is_const_v<T>) operator matrix_view<U, Memory>() const noexcept {
    return {data, rows, cols, stride};
  }
};

/// A matrix that owns its elements, on the host unless it is told otherwise: `matrix<T, device_memory>` is in
/// `cuda/matrix.cuh`.
template <class T, class Memory = host_memory>
class matrix;

/// On the host; its memory comes from the resource it is given.
template <class T>
class matrix<T, host_memory> {
 public:
  matrix() = default;
  matrix(int rows, int cols, T fill = {}, std::pmr::memory_resource* memory = std::pmr::get_default_resource())
      : rows_(rows),
        cols_(cols),
        data_(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols), fill, memory) {}

  int rows() const noexcept { return rows_; }
  int cols() const noexcept { return cols_; }
  bool empty() const noexcept { return data_.empty(); }

  T& operator()(int row, int col) noexcept { return view()(row, col); }
  T const& operator()(int row, int col) const noexcept { return view()(row, col); }
  std::span<T const> row(int r) const noexcept { return {view().row(r), static_cast<std::size_t>(cols_)}; }

  matrix_view<T> view() noexcept { return {data_.data(), rows_, cols_, cols_}; }
  matrix_view<T const> view() const noexcept { return {data_.data(), rows_, cols_, cols_}; }

 private:
  int rows_ = 0;
  int cols_ = 0;
  std::pmr::vector<T> data_;
};

/// What a scorer fills: one number per (head, token), higher means keep.
template <class E>
using scores_view = matrix_view<float, typename E::memory>;

/// The score of a token that was not judged: protected, or outside what a method looks at.
inline constexpr float unjudged = std::numeric_limits<float>::quiet_NaN();

/// Scores in an executor's memory, all unjudged: what policies work in, and decisions carry.
template <class F>
matrix<float> make_scores(basic_plain_cpu<F> const& ex, int heads, int tokens) {
  return {heads, tokens, unjudged, ex.resource()};
}

template <executor E>
using owned_scores = matrix<float, typename E::memory>;

/// Room for at least `cols` columns, half as many again to spare. What is there stays; new elements are 0.
template <class F, class T>
void grow(basic_plain_cpu<F> const&, matrix<T>& m, int rows, int cols) {
  if (cols <= m.cols() && !m.empty()) return;
  matrix<T> larger(rows, std::max(1, cols + cols / 2));
  for (int r = 0; r < m.rows(); ++r) std::copy_n(m.view().row(r), m.cols(), larger.view().row(r));
  m = std::move(larger);
}

}  // namespace tightkv
