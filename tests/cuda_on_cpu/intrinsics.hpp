// SPDX-License-Identifier: Apache-2.0
/// The functions that kernels find in CUDA's global namespace.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cuda_on_cpu/access.hpp>

// Barriers.

inline void __syncthreads(cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  cuda_on_cpu::block::current().barrier(false, where);
}
inline int __syncthreads_count(int predicate, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return static_cast<int>(cuda_on_cpu::block::current().barrier(predicate != 0, where));
}
inline int __syncthreads_or(int predicate, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return __syncthreads_count(predicate, where) > 0;
}
inline int __syncthreads_and(int predicate, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return __syncthreads_count(predicate == 0, where) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffU, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  cuda_on_cpu::block::current().meet({cuda_on_cpu::collective::syncwarp, mask, 0, 0, where});
}
inline void __threadfence() {}
inline void __threadfence_block() {}
/// Lets the other threads run: what a thread that waits for another should do.
inline void __nanosleep(unsigned) { cuda_on_cpu::block::current().interrupt(); }
[[noreturn]] inline void __trap() { cuda_on_cpu::block::current().fail("__trap()"); }

// Warps.

namespace cuda_on_cpu::detail {

template <class T>
std::uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
/// `source` of this lane within its segment of `width` lanes; a lane outside of it gives back its own value.
template <class T>
T shuffle(unsigned mask, T value, int source, int width, place where) {
  auto& b = block::current();
  if (width < 1 || width > 32 || !std::has_single_bit(static_cast<unsigned>(width))) {
    b.fail("a shuffle's width must be a power of two up to 32, not ", width);
  }
  std::uint64_t const bits = b.meet({collective::shuffle, mask, to_bits(value), source, where});
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
template <class T>
T reduce(collective what, unsigned mask, T value, place where) {
  static_assert(std::same_as<T, int> || std::same_as<T, unsigned>);
  auto const wide = static_cast<std::uint64_t>(static_cast<std::int64_t>(value));
  return static_cast<T>(block::current().meet({what, mask, wide, 0, where}));
}
inline int lane() { return static_cast<int>(block::current().thread() % 32); }

}  // namespace cuda_on_cpu::detail

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  int const segment = cuda_on_cpu::detail::lane() & -width;
  return cuda_on_cpu::detail::shuffle(mask, value, segment + (source & (width - 1)), width, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  int const lane = cuda_on_cpu::detail::lane(), source = lane - static_cast<int>(delta);
  return cuda_on_cpu::detail::shuffle(mask, value, source < (lane & -width) ? lane : source, width, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  int const lane = cuda_on_cpu::detail::lane(), source = lane + static_cast<int>(delta);
  return cuda_on_cpu::detail::shuffle(mask, value, source >= (lane & -width) + width ? lane : source, width, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  int const lane = cuda_on_cpu::detail::lane(), source = lane ^ lane_mask;
  return cuda_on_cpu::detail::shuffle(mask, value, source >= (lane & -width) + width ? lane : source, width, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return static_cast<unsigned>(
      cuda_on_cpu::block::current().meet({cuda_on_cpu::collective::ballot, mask, predicate != 0, 0, where}));
}
inline int __any_sync(unsigned mask, int predicate, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return static_cast<int>(
      cuda_on_cpu::block::current().meet({cuda_on_cpu::collective::any, mask, predicate != 0, 0, where}));
}
inline int __all_sync(unsigned mask, int predicate, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return static_cast<int>(
      cuda_on_cpu::block::current().meet({cuda_on_cpu::collective::all, mask, predicate != 0, 0, where}));
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return static_cast<unsigned>(cuda_on_cpu::block::current().meet(
      {cuda_on_cpu::collective::match_any, mask, cuda_on_cpu::detail::to_bits(value), 0, where}));
}
/// Of all lanes of the mask, in each of them; int or unsigned, as from sm_80 on.
template <class T>
T __reduce_add_sync(unsigned mask, T value, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return cuda_on_cpu::detail::reduce(cuda_on_cpu::collective::reduce_add, mask, value, where);
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return cuda_on_cpu::detail::reduce(cuda_on_cpu::collective::reduce_min, mask, value, where);
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, cuda_on_cpu::place where = cuda_on_cpu::place::here()) {
  return cuda_on_cpu::detail::reduce(cuda_on_cpu::collective::reduce_max, mask, value, where);
}
/// The lanes that happen to run together: here, this one alone, which the hardware may do as well.
inline unsigned __activemask() { return 1U << cuda_on_cpu::detail::lane(); }

// Atomics, on global memory, on tracked and on untracked shared memory.

namespace cuda_on_cpu::detail {

template <class T>
concept atomic_word = (std::integral<T> && (sizeof(T) == 4 || sizeof(T) == 8)) || std::same_as<T, float>;

template <atomic_word T, class F>
[[gnu::always_inline]] inline T update(T* p, F f) {
  watch_global(false, p, sizeof(T));
  T const old = *p;
  *p = f(old);
  return old;
}
template <atomic_word T, class F>
[[gnu::always_inline]] inline T update(shared_pointer<T> p, F f) {
  return p.update(f);
}
template <class P>
struct pointee;
template <class T>
struct pointee<T*> {
  using type = T;
};
template <class T>
struct pointee<shared_pointer<T>> {
  using type = T;
};
template <class P>
using value_at = typename pointee<P>::type;

}  // namespace cuda_on_cpu::detail

template <class P>
auto atomicAdd(P p, cuda_on_cpu::detail::value_at<P> x) {
  using T = decltype(x);
  return cuda_on_cpu::detail::update(p, [x](T old) {
    if constexpr (std::integral<T>) {
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(old) + static_cast<std::make_unsigned_t<T>>(x));
    } else {
      return old + x;
    }
  });
}
template <class P>
auto atomicSub(P p, cuda_on_cpu::detail::value_at<P> x) {
  using T = decltype(x);
  using U = std::make_unsigned_t<T>;
  return cuda_on_cpu::detail::update(p, [x](T old) { return static_cast<T>(static_cast<U>(old) - static_cast<U>(x)); });
}
template <class P>
auto atomicMax(P p, cuda_on_cpu::detail::value_at<P> x) {
  return cuda_on_cpu::detail::update(p, [x](auto old) { return old < x ? x : old; });
}
template <class P>
auto atomicMin(P p, cuda_on_cpu::detail::value_at<P> x) {
  return cuda_on_cpu::detail::update(p, [x](auto old) { return x < old ? x : old; });
}
template <class P>
auto atomicOr(P p, cuda_on_cpu::detail::value_at<P> x) {
  return cuda_on_cpu::detail::update(p, [x](auto old) { return old | x; });
}
template <class P>
auto atomicAnd(P p, cuda_on_cpu::detail::value_at<P> x) {
  return cuda_on_cpu::detail::update(p, [x](auto old) { return old & x; });
}
template <class P>
auto atomicExch(P p, cuda_on_cpu::detail::value_at<P> x) {
  return cuda_on_cpu::detail::update(p, [x](auto) { return x; });
}
template <class P>
auto atomicCAS(P p, cuda_on_cpu::detail::value_at<P> expected, cuda_on_cpu::detail::value_at<P> x) {
  return cuda_on_cpu::detail::update(p, [=](auto old) { return old == expected ? x : old; });
}

// Bits and numbers.

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1U) << (31 - i);
  return reversed;
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }

// Loads and stores with a cache hint.

template <class T>
[[gnu::always_inline]] inline T __ldg(T const* p) {
  cuda_on_cpu::on_load(p, sizeof(T));
  return *p;
}
template <class T>
[[gnu::always_inline]] inline T __ldcs(T const* p) {
  cuda_on_cpu::on_load(p, sizeof(T));
  return *p;
}
template <class T>
[[gnu::always_inline]] inline T __ldcg(T const* p) {
  cuda_on_cpu::on_load(p, sizeof(T));
  return *p;
}
template <class T>
[[gnu::always_inline]] inline void __stcs(T* p, T value) {
  cuda_on_cpu::on_store(p, sizeof(T));
  *p = value;
}
