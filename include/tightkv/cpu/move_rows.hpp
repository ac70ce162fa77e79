// SPDX-License-Identifier: Apache-2.0
/// Rows on their way to somewhere else: plain copies, but memory is told in advance which rows come next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/view/plane.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/move_rows.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv::detail {
inline namespace TIGHTKV_KERNELS_FOR {

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

inline constexpr std::size_t cache_line = 64;

/// Rows of at least one cache line. One that moves far is streamed: nothing of its destination is in a cache by then.
template <class From, class To>
void move_long_rows(instruction_set set, From const& from, std::span<int const> tokens, To const& to, int first,
                    row_slice slice) {
  constexpr std::ptrdiff_t far = 64 * 1024;  // bytes
  constexpr std::size_t room = 32;           // rows
  std::byte const* source[room];             // a ring: looking rows up takes a while, so it is done once
  std::size_t const bytes = slice.end - slice.begin;
  std::size_t const ahead = std::clamp<std::size_t>(8192 / bytes, 8, room - 8);
  bool any_streams = false;
  row_finder<From> find(from);
  row_finder<To> place(to);
  for (std::size_t j = 0, known = 0; j < tokens.size(); ++j) {
    for (; known < tokens.size() && known <= j + ahead; ++known)
      source[known % room] = reinterpret_cast<std::byte const*>(find(tokens[known])) + slice.begin;
    int const target = first + static_cast<int>(j);
    auto* const destination = reinterpret_cast<std::byte*>(place(target)) + slice.begin;
    bool const whole_lines = (reinterpret_cast<std::uintptr_t>(destination) | bytes) % cache_line == 0;
    bool const streams = whole_lines && (tokens[j] - target) * static_cast<std::ptrdiff_t>(bytes) > far;
    with_vectors(set, [&](auto vectors) {
      auto const* const next = source[(known - 1) % room];
      streams ? stream_row(vectors, source[j % room], destination, bytes, next)
              : copy_row(vectors, source[j % room], destination, bytes, next);
    });
    any_streams = any_streams || streams;
  }
  if (any_streams) with_vectors(set, [](auto vectors) { end_streams(vectors); });
}

/// Shorter ones, as of sums and positions. They go together where they are neighbours and stay so: after one token was
/// evicted, that is nearly all.
template <class From, class To>
void move_short_rows(From const& from, std::span<int const> tokens, To const& to, int first, row_slice slice) {
  constexpr std::size_t ahead = 24;    // rows
  constexpr std::size_t at_once = 64;  // rows
  std::size_t const bytes = slice.end - slice.begin;
  auto const source = [&](std::size_t j) {
    return reinterpret_cast<std::byte const*>(from[tokens[j]].data) + slice.begin;
  };
  auto const destination = [&](std::size_t j) {
    return reinterpret_cast<std::byte*>(to[first + static_cast<int>(j)].data) + slice.begin;
  };
  for (std::size_t j = 0, run = 1; j < tokens.size(); j += run) {
    auto const* const begin = source(j);
    auto* const target = destination(j);
    for (run = 1; run < at_once && j + run < tokens.size(); ++run) {
      if (source(j + run) != begin + run * bytes || destination(j + run) != target + run * bytes) break;
    }
    for (std::size_t i = j + ahead; i < std::min(j + run + ahead, tokens.size()); ++i)
      __builtin_prefetch(source(i), 0, 2);
    std::memmove(target, begin, run * bytes);
  }
}

/// Copies the rows `tokens` of one head to rows `first`, `first + 1`, ... of another, or of itself if they do not move
/// right.
template <class From, class To>
void move_rows(instruction_set set, From const& from, std::span<int const> tokens, To const& to, int first,
               row_slice slice) {
  if (slice.end - slice.begin < cache_line) {
    move_short_rows(from, tokens, to, first, slice);
  } else {
    move_long_rows(set, from, tokens, to, first, slice);
  }
}

/// Moves the rows `tokens` of a head to rows `first`, `first + 1`, ... of it, none of them to the right. Those that are
/// where they belong stay.
template <class Head>
void move_left(instruction_set set, Head const& head, std::span<int const> tokens, int first, row_slice slice) {
  std::size_t stay = 0;
  while (stay < tokens.size() && tokens[stay] == first + static_cast<int>(stay)) ++stay;
  move_rows(set, head, tokens.subspan(stay), head, first + static_cast<int>(stay), slice);
}

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace tightkv::detail
