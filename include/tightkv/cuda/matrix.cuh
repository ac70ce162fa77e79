// SPDX-License-Identifier: Apache-2.0
/// Matrices in device memory: scores, and what methods carry from call to call.
#pragma once

#include <algorithm>
#include <cstddef>

#include <tightkv/core/matrix.hpp>
#include <tightkv/cuda/executor.cuh>

namespace tightkv {

/// A matrix in device memory that owns its elements. Moves, but does not copy; `to_host` brings one to the host.
template <class T>
class matrix<T, device_memory> {
 public:
  matrix() = default;
  /// Not initialised.
  matrix(cuda const& ex, int rows, int cols)
      : rows_(rows), cols_(cols), data_(ex, static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols)) {}

  int rows() const noexcept { return rows_; }
  int cols() const noexcept { return cols_; }
  bool empty() const noexcept { return data_.data() == nullptr; }

  matrix_view<T, device_memory> view() noexcept { return {data_.data(), rows_, cols_, cols_}; }
  matrix_view<T const, device_memory> view() const noexcept { return {data_.data(), rows_, cols_, cols_}; }

 private:
  int rows_ = 0;
  int cols_ = 0;
  detail::device_array<T> data_;
};

/// Scores in device memory, all unjudged.
inline matrix<float, device_memory> make_scores(cuda const& ex, int heads, int tokens) {
  matrix<float, device_memory> scores(ex, heads, tokens);
  auto const v = scores.view();
  // All bits set is a NaN.
  detail::set_bytes(ex, v.data, 0xff,
                    sizeof(float) * static_cast<std::size_t>(heads) * static_cast<std::size_t>(tokens));
  return scores;
}

/// Room for at least `cols` columns, half as many again to spare. What is there stays; new elements are 0. The memory
/// is the stream's own, not the workspace's: it outlives the call.
template <class T>
void grow(cuda const& ex, matrix<T, device_memory>& m, int rows, int cols) {
  if (cols <= m.cols() && !m.empty()) return;
  bool const measures = detail::only_measures(ex);
  cuda const owner = measures ? ex : cuda{.stream = ex.stream, .host = ex.host};
  matrix<T, device_memory> larger(owner, rows, std::max(1, cols + cols / 2));
  auto const to = larger.view();
  auto const from = m.view();
  auto const width = [](int n) { return sizeof(T) * static_cast<std::size_t>(n); };
  detail::set_bytes(ex, to.data, 0, width(to.cols) * static_cast<std::size_t>(rows));
  detail::copy_rows(ex, to.data, from.data,
                    {.row_bytes = width(from.cols),
                     .rows = static_cast<std::size_t>(from.rows),
                     .from_pitch = width(from.cols),
                     .to_pitch = width(to.cols)},
                    cudaMemcpyDeviceToDevice);
  m = std::move(larger);
}

/// A copy on the host. Waits for the stream.
template <class T>
matrix<T> to_host(cuda const& ex, matrix<T, device_memory> const& m) {
  matrix<T> copy(m.rows(), m.cols());
  auto const bytes = sizeof(T) * static_cast<std::size_t>(m.rows()) * static_cast<std::size_t>(m.cols());
  detail::copy_bytes(ex, copy.view().data, m.view().data, bytes, cudaMemcpyDeviceToHost);
  ex.wait();
  return copy;
}

}  // namespace tightkv
