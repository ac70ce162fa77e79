// SPDX-License-Identifier: Apache-2.0

/// Copies a row of at least one cache line, and meanwhile fetches the row at `next` as long into the second cache: a
/// core drops what its first cache cannot wait for.
inline void copy_row(vectors, std::byte const* from, std::byte* to, std::size_t bytes, std::byte const* next) {
  constexpr std::size_t line = sizeof(ints);
  std::size_t const whole = bytes / line * line;
  for (std::size_t b = 0; b < whole; b += line) {
    __builtin_prefetch(next + b, 0, 2);
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
    __builtin_prefetch(next + b, 0, 2);
    stream(reinterpret_cast<std::int32_t*>(to + b), load<ints>(reinterpret_cast<std::int32_t const*>(from + b)));
  }
}

/// Who sees what is stored after this sees what was streamed before.
inline void end_streams(vectors) { order_streams(); }
