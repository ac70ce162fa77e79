// SPDX-License-Identifier: Apache-2.0
/// Rows on their way to somewhere else: plain copies, but memory is told in advance which rows come next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

#include <tightkv/view/plane.hpp>

namespace tightkv::detail {

/// Part of every row: bytes [begin, end).
struct row_slice {
  std::size_t begin;
  std::size_t end;
};

/// How the rows of a plane are cut where there are fewer heads than threads may be: in place, the rows of a head move
/// one after another, but slices of them know nothing of each other.
struct row_slices {
  std::size_t row_bytes;
  int count;

  row_slices(int heads, std::ptrdiff_t bytes_of_a_row) : row_bytes(static_cast<std::size_t>(bytes_of_a_row)) {
    constexpr int enough = 8;
    constexpr std::size_t least = 128;  // bytes: two cache lines
    auto const most = static_cast<int>(std::min<std::size_t>(row_bytes / least, enough));
    count = std::clamp(enough / std::max(1, heads), 1, std::max(1, most));
  }
  row_slice operator[](int i) const noexcept {
    auto const n = static_cast<std::size_t>(count);
    auto const at = static_cast<std::size_t>(i);
    return {row_bytes * at / n, row_bytes * (at + 1) / n};
  }
};

/// A memcpy in steps: C libraries change to slower instructions for long rows.
inline void copy_bytes(std::byte const* from, std::byte* to, std::size_t bytes) {
  constexpr std::size_t step = 512;
  for (; bytes > step; bytes -= step, from += step, to += step) std::memcpy(to, from, step);
  std::memcpy(to, from, bytes);
}

/// Copies the rows `tokens` of one head to rows `first`, `first + 1`, ... of another, or of itself if they do not move
/// right. Short rows, as of sums and positions, go together where they are neighbours and stay so: after one token was
/// evicted, that is nearly all.
template <class From, class To>
void move_rows(From const& from, std::span<int const> tokens, To const& to, int first, row_slice slice) {
  constexpr std::size_t at_once = 64;
  constexpr std::size_t most_ahead = 24;
  constexpr std::size_t line = 64;
  std::byte const* source[at_once + most_ahead];
  std::size_t const bytes = slice.end - slice.begin;
  std::size_t const ahead = std::clamp<std::size_t>(8192 / std::max<std::size_t>(bytes, 1), 8, most_ahead);  // rows
  auto const address = [&](std::size_t j) {
    return reinterpret_cast<std::byte const*>(from[tokens[j]].data) + slice.begin;
  };
  auto const destination = [&](std::size_t j) {
    return reinterpret_cast<std::byte*>(to[first + static_cast<int>(j)].data) + slice.begin;
  };
  std::size_t known = 0;  // rows whose address is in `source`, counted from the block's first
  for (std::size_t begin = 0; begin < tokens.size(); begin += at_once) {
    std::size_t const left = tokens.size() - begin;
    for (std::size_t const wanted = std::min(left, at_once + ahead); known < wanted; ++known)
      source[known] = address(begin + known);
    std::size_t const here = std::min(left, at_once);
    for (std::size_t j = 0; j < here;) {
      std::byte* const target = destination(begin + j);
      std::size_t run = 1;
      while (bytes < line && j + run < here && source[j + run] == source[j] + run * bytes &&
             destination(begin + j + run) == target + run * bytes) {
        ++run;
      }
      for (std::size_t i = j; i < j + run && i + ahead < left; ++i) {
        // Into the second cache: a core drops what its first cache cannot wait for.
        for (std::size_t b = 0; b < bytes; b += line) __builtin_prefetch(source[i + ahead] + b, 0, 2);
      }
      if (run == 1) {
        copy_bytes(source[j], target, bytes);
      } else {
        std::memmove(target, source[j], run * bytes);
      }
      j += run;
    }
    std::copy(source + std::min(known, at_once), source + known, source);
    known -= std::min(known, at_once);
  }
}

/// Moves the rows `tokens` of a head to rows `first`, `first + 1`, ... of it, none of them to the right. Those that are
/// where they belong stay.
template <class Head>
void move_left(Head const& head, std::span<int const> tokens, int first, row_slice slice) {
  std::size_t stay = 0;
  while (stay < tokens.size() && tokens[stay] == first + static_cast<int>(stay)) ++stay;
  move_rows(head, tokens.subspan(stay), head, first + static_cast<int>(stay), slice);
}

}  // namespace tightkv::detail
