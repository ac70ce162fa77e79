// SPDX-License-Identifier: Apache-2.0
/// Floors: what no kernel can beat on this machine, timed in the same run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <benchmark/benchmark.h>

namespace bench {

namespace detail {

inline constexpr std::size_t lanes = 8;
using words = std::uint32_t __attribute__((vector_size(lanes * sizeof(std::uint32_t))));
using floats = float __attribute__((vector_size(lanes * sizeof(float))));

template <int Streams>
void read(std::byte const* data, std::size_t bytes) {
  constexpr std::size_t in_a_row = 8 / Streams;  // vectors taken from a stream before the next one's turn
  std::size_t const of_a_stream = bytes / Streams;
  words sum[Streams][in_a_row] = {};
  for (std::size_t at = 0; at < of_a_stream; at += in_a_row * sizeof(words)) {
    for (std::size_t s = 0; s < Streams; ++s) {
      auto const* const from = reinterpret_cast<words const*>(data + s * of_a_stream + at);
      for (std::size_t i = 0; i < in_a_row; ++i) sum[s][i] += from[i];
    }
  }
  benchmark::DoNotOptimize(sum);
}

}  // namespace detail

/// Reads every byte once, front to back, in 1 or 4 streams. A single stream is bound by latency, not by the memory.
/// `bytes` is a multiple of 1 KiB, `data` aligned to 32 bytes.
inline void read(void const* data, std::size_t bytes, std::int64_t streams) {
  auto const* const from = static_cast<std::byte const*>(data);
  streams == 1 ? detail::read<1>(from, bytes) : detail::read<4>(from, bytes);
}

inline void copy(void const* from, void* to, std::size_t bytes) {
  std::memcpy(to, from, bytes);
  benchmark::ClobberMemory();
}

/// At least that many multiply-adds, as many at once as the processor has registers for.
inline void multiply_add(double count) {
  constexpr std::size_t chains = 12;
  detail::floats sum[chains] = {};
  detail::floats factor = {1, 1, 1, 1, 1, 1, 1, 1};
  benchmark::DoNotOptimize(factor);
  for (double done = 0; done < count; done += 16 * chains * detail::lanes) {
    for (int repeat = 0; repeat < 16; ++repeat) {
      for (auto& x : sum) x = x * factor + factor;
    }
  }
  benchmark::DoNotOptimize(sum);
}

}  // namespace bench
