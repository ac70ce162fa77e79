// SPDX-License-Identifier: Apache-2.0
/// Numbers per head that the host knows and kernels need: handed over with the launch where all heads have the same,
/// in a table otherwise.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/memory.cuh>

namespace tightkv::detail {

/// What a kernel sees: `table[h]`, or the same for all.
template <class T>
struct per_head {
  T const* table;
  T same;

  __device__ T operator[](int h) const { return table == nullptr ? same : load(table + h); }
};

/// Bytes that travel as a kernel's argument: captured with the launch, so neither the caller's memory nor a staging
/// buffer has to live on, and nothing waits.
struct parcel {
  static constexpr int most = 896;
  std::uint32_t word[most];
};

template <class Parcel>
__global__ void unpack_kernel(__grid_constant__ Parcel const from, std::uint32_t* to, int words) {
  for (int i = static_cast<int>(threadIdx.x); i < words; i += static_cast<int>(blockDim.x)) store(to + i, from.word[i]);
}

/// Copies what the host has to the device, in the stream's order.
template <class T>
void send(cuda const& ex, std::span<T const> from, T* to) {
  static_assert(sizeof(T) % sizeof(std::uint32_t) == 0 && std::is_trivially_copyable_v<T>);
  auto const* source = reinterpret_cast<unsigned char const*>(from.data());
  auto* target = reinterpret_cast<std::uint32_t*>(to);
  for (std::size_t left = from.size_bytes() / sizeof(std::uint32_t); left > 0;) {
    auto const words = std::min<std::size_t>(left, parcel::most);
    parcel p;
    std::memcpy(p.word, source, words * sizeof(std::uint32_t));
    launch(ex, "sending a table", unpack_kernel<parcel>, {1, 256}, p, target, static_cast<int>(words));
    source += words * sizeof(std::uint32_t);
    target += words;
    left -= words;
  }
}

/// Keeps a table of `per_head` alive.
template <class T>
class head_table {
 public:
  head_table() = default;
  head_table(cuda const& ex, std::span<T const> values) {
    if (values.empty()) return;
    same_ = values[0];
    bool const equal = std::all_of(values.begin(), values.end(), [&](T const& x) { return x == same_; });
    if (equal) return;
    table_ = device_array<T>(ex, values.size());
    send(ex, values, table_.data());
  }

  per_head<T> view() const noexcept { return {table_.data(), same_}; }

 private:
  T same_{};
  device_array<T> table_;
};

template <class Range>
auto table_of(cuda const& ex, Range const& values) {
  using T = typename Range::value_type;
  return head_table<std::remove_const_t<T>>(ex, std::span<std::remove_const_t<T> const>(values.data(), values.size()));
}

}  // namespace tightkv::detail
