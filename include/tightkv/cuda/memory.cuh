// SPDX-License-Identifier: Apache-2.0
/// How kernels touch memory. All accesses to global memory go through `load` and `store`, so that the tests' emulator
/// can count them, and see those that are out of bounds or not aligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <tightkv/core/half.hpp>
#include <tightkv/cuda/launch.cuh>

namespace tightkv::detail {

#if defined(TIGHTKV_CUDA_ON_CPU)
template <class T>
[[gnu::always_inline]] inline T load(T const* p) {
  cuda_on_cpu::on_load(p, sizeof(T));
  return *p;
}
template <class T>
[[gnu::always_inline]] inline void store(T* p, T const& value) {
  cuda_on_cpu::on_store(p, sizeof(T));
  *p = value;
}
#else
// Plain loads, never `__ldg`: some kernels write the memory that they read.
template <class T>
__device__ __forceinline__ T load(T const* p) {
  return *p;
}
template <class T>
__device__ __forceinline__ void store(T* p, T const& value) {
  *p = value;
}
#endif

/// What one thread moves in one access: 16 bytes of elements.
template <class T>
struct alignas(16) packet {
  static constexpr int size = 16 / static_cast<int>(sizeof(T));
  T element[size];
};

template <class T>
__device__ __forceinline__ packet<T> load_packet(T const* p) {
  return load(reinterpret_cast<packet<T> const*>(p));
}
template <class T>
__device__ __forceinline__ void store_packet(T* p, packet<T> const& value) {
  store(reinterpret_cast<packet<T>*>(p), value);
}

inline bool is_multiple_of_16(std::ptrdiff_t bytes) noexcept { return bytes % 16 == 0; }

}  // namespace tightkv::detail
