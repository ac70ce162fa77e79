// SPDX-License-Identifier: Apache-2.0

/// Asks for a line, where that pays once the one at `arriving` has arrived: a core that waits for many lines drops what
/// else it is asked for. The address depends on what is there, which counts for nothing.
TIGHTKV_INLINE void fetch_after([[maybe_unused]] std::byte const* arriving, std::byte const* line) {
  std::uint32_t there = 0;
  if constexpr (vectors::one_line_for_another) {
    std::memcpy(&there, arriving, sizeof there);
    std::uint32_t nothing = 0;
    __asm__("" : "+r"(nothing));  // which the compiler does not know
    there &= nothing;
  }
  __builtin_prefetch(line + there, 0, 2);
}

/// Copies a row of at least one cache line, and meanwhile fetches the row at `next` as long into the second cache: a
/// core drops what its first cache cannot wait for.
inline void copy_row(vectors, std::byte const* from, std::byte* to, std::size_t bytes, std::byte const* next) {
  constexpr std::size_t line = sizeof(ints);
  std::size_t const whole = bytes / line * line;
  for (std::size_t b = 0; b < whole; b += line) {
    fetch_after(from + b, next + b);
    store(reinterpret_cast<std::int32_t*>(to + b), load<ints>(reinterpret_cast<std::int32_t const*>(from + b)));
  }
  if (whole < bytes) {
    __builtin_prefetch(next + bytes - 1, 0, 2);
    std::memcpy(to + whole, from + whole, bytes - whole);
  }
}

/// The same for whole lines, past the caches: what the lines held before is not read first.
inline void stream_row(vectors, std::byte const* from, std::byte* to, std::size_t bytes, std::byte const* next) {
  for (std::size_t b = 0; b < bytes; b += sizeof(ints)) {
    fetch_after(from + b, next + b);
    stream(reinterpret_cast<std::int32_t*>(to + b), load<ints>(reinterpret_cast<std::int32_t const*>(from + b)));
  }
}

/// Who sees what is stored after this sees what was streamed before.
inline void end_streams(vectors) { order_streams(); }
