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
[[gnu::always_inline]] inline void store(T* p, T value) {
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
__device__ __forceinline__ void store(T* p, T value) {
  *p = value;
}
#endif

/// What one thread moves in one access: neighbouring elements, as a whole aligned.
template <class T, int Bytes>
struct alignas(Bytes) packet {
  static constexpr int size = Bytes / static_cast<int>(sizeof(T));
  T element[size];
};

template <class Packet, class T>
__device__ __forceinline__ Packet load_as(T const* p) {
  return load(reinterpret_cast<Packet const*>(p));
}

/// Copies 16 bytes of global memory to shared memory. They are there for the thread that asked once it has waited, and
/// for others that have then met it.
template <class T>
__device__ __forceinline__ void begin_copy(shared<T> to, T const* from) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  auto const address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
#else
  using bytes = packet<T, 16>;
  shared_as<bytes>(to)[0] = load_as<bytes>(from);
#endif
}
/// Ends a batch of copies.
__device__ __forceinline__ void end_batch() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/// Waits for this thread's copies, except those of its last `Batches` batches.
template <int Batches>
__device__ __forceinline__ void wait_for_all_but() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(Batches) : "memory");
#endif
}

/// As `static_cast<float>`, in one instruction where there is one.
template <class T>
__device__ __forceinline__ float to_float(T x) {
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, half>) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x.bits));
    return f;
  }
#endif
  return static_cast<float>(x);
}

/// The i-th element; i must be known to the compiler. The halves of a word are not taken out of it first.
template <class T, int Bytes>
__device__ __forceinline__ float element_of(packet<T, Bytes> const& p, int i) {
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, bfloat16> && Bytes % 4 == 0) {
    std::uint32_t const word = bits_as<packet<std::uint32_t, Bytes>>(p).element[i / 2];
    return bits_as<float>(i % 2 == 0 ? word << 16 : word & 0xffff0000U);
  }
#endif
  return to_float(p.element[i]);
}

/// Keeps the compiler from working x out a second time instead of remembering it.
__device__ __forceinline__ void keep_in_register([[maybe_unused]] float& x) {
#if defined(__CUDA_ARCH__)
  asm("" : "+f"(x));
#endif
}

/// What `least` and `most` choose between two numbers, and between two pairs of 16-bit numbers in one instruction.
struct choose_less {
  static __device__ bool prefers(float a, float b) { return a < b; }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  static __device__ void pair_of(half, std::uint32_t& x, std::uint32_t y) {
    asm("min.f16x2 %0, %0, %1;" : "+r"(x) : "r"(y));
  }
  static __device__ void pair_of(bfloat16, std::uint32_t& x, std::uint32_t y) {
    asm("min.bf16x2 %0, %0, %1;" : "+r"(x) : "r"(y));
  }
#endif
};
struct choose_greater {
  static __device__ bool prefers(float a, float b) { return b < a; }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  static __device__ void pair_of(half, std::uint32_t& x, std::uint32_t y) {
    asm("max.f16x2 %0, %0, %1;" : "+r"(x) : "r"(y));
  }
  static __device__ void pair_of(bfloat16, std::uint32_t& x, std::uint32_t y) {
    asm("max.bf16x2 %0, %0, %1;" : "+r"(x) : "r"(y));
  }
#endif
};

template <class Choose, class T, int Bytes>
__device__ __forceinline__ packet<T, Bytes> chosen(packet<T, Bytes> a, packet<T, Bytes> const& b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if constexpr (Bytes % 4 == 0 && sizeof(T) == 2) {
    using words = packet<std::uint32_t, Bytes>;
    words x = bits_as<words>(a);
    words const y = bits_as<words>(b);
#pragma unroll
    for (int i = 0; i < words::size; ++i) Choose::pair_of(T{}, x.element[i], y.element[i]);
    return bits_as<packet<T, Bytes>>(x);
  } else
#endif
  {
#pragma unroll
    for (int i = 0; i < packet<T, Bytes>::size; ++i) {
      if (Choose::prefers(to_float(b.element[i]), to_float(a.element[i]))) a.element[i] = b.element[i];
    }
    return a;
  }
}

/// The smaller, or the larger, of each two elements; none of them is NaN.
template <class T, int Bytes>
__device__ __forceinline__ packet<T, Bytes> least(packet<T, Bytes> const& a, packet<T, Bytes> const& b) {
  return chosen<choose_less>(a, b);
}
template <class T, int Bytes>
__device__ __forceinline__ packet<T, Bytes> most(packet<T, Bytes> const& a, packet<T, Bytes> const& b) {
  return chosen<choose_greater>(a, b);
}

}  // namespace tightkv::detail
