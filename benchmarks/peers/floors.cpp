// SPDX-License-Identifier: Apache-2.0
/// The floors of `peers/`: what must be read, copied or multiplied, on as many threads, and nothing else.
#include <cstddef>

#include <support/floors.hpp>

#include "threads.hpp"

namespace {

/// Shares the work out in equal parts.
template <class F>
double milliseconds(int threads, F const& part) {
  auto& pool = peers::pool_of(threads);
  return peers::milliseconds(pool, [&] { pool.run(threads, part); });
}

}  // namespace

extern "C" {

/// Reads all of it, front to back. `bytes` is a multiple of 1 KiB per thread.
double read_floor(std::byte const* data, std::size_t bytes, int threads) {
  std::size_t const part = bytes / static_cast<std::size_t>(threads);
  return milliseconds(threads, [&](int i) { bench::read(data + static_cast<std::size_t>(i) * part, part, 1); });
}

double copy_floor(std::byte const* from, std::byte* to, std::size_t bytes, int threads) {
  std::size_t const part = bytes / static_cast<std::size_t>(threads);
  return milliseconds(threads, [&](int i) {
    std::size_t const at = static_cast<std::size_t>(i) * part;
    bench::copy(from + at, to + at, part);
  });
}

double multiply_add_floor(double count, int threads) {
  return milliseconds(threads, [&](int) { bench::multiply_add(count / threads); });
}
}
