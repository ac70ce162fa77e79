// SPDX-License-Identifier: Apache-2.0
/// Vectors of 16 floats, 16 ints and 32 shorts, the same names in a namespace for each instruction set.
///
/// A fast kernel is written once, in cpu/kernels/, against these names; `targets/each.inl` compiles it for every set.
/// Each of its functions takes a `vectors` tag first, which finds the namespace:
///
///     detail::with_vectors(ex.instructions(), [&](auto set) { norms_of(set, rows, ...); });
///
/// Sixteen lanes are what core/arithmetic.hpp defines sums over, so the order of every rounding is that of the plain
/// kernels. Every multiply-add is an explicit `fma`; a product that is not meant for one must not be an addend.
#pragma once

#include <cstdint>
#include <cstring>

#include <tightkv/core/half.hpp>
#include <tightkv/core/instruction_set.hpp>

#define TIGHTKV_INLINE [[gnu::always_inline]] inline

#if defined(TIGHTKV_X86_64_V3) || defined(TIGHTKV_X86_64_V4)
#include <immintrin.h>
#elif defined(TIGHTKV_NEON)
#include <arm_neon.h>
#endif

#if defined(TIGHTKV_X86_64_V3)
#include <tightkv/cpu/targets/begin_x86_64_v3.inl>
namespace tightkv::detail::x86_64_v3 {
#include <tightkv/cpu/vectors/x86_64_v3.inl>
}  // namespace tightkv::detail::x86_64_v3
#include <tightkv/cpu/targets/end.inl>
#endif

#if defined(TIGHTKV_X86_64_V4)
#include <tightkv/cpu/targets/begin_x86_64_v4.inl>
namespace tightkv::detail::x86_64_v4 {
#include <tightkv/cpu/vectors/x86_64_v4.inl>
}  // namespace tightkv::detail::x86_64_v4
#include <tightkv/cpu/targets/end.inl>
#endif

#if defined(TIGHTKV_NEON)
namespace tightkv::detail::neon {
#include <tightkv/cpu/vectors/neon.inl>
}  // namespace tightkv::detail::neon
#endif

namespace tightkv::detail {
inline namespace TIGHTKV_KERNELS_FOR {

/// Calls `f(vectors{})` with the tag of an instruction set that runs here; never for `none`.
template <class F>
inline void with_vectors([[maybe_unused]] instruction_set set, [[maybe_unused]] F&& f) {
#if defined(TIGHTKV_X86_64_V4)
  if (set == instruction_set::x86_64_v4) return f(x86_64_v4::vectors{});
#endif
#if defined(TIGHTKV_X86_64_V3)
  if (set == instruction_set::x86_64_v3) return f(x86_64_v3::vectors{});
#endif
#if defined(TIGHTKV_NEON)
  if (set == instruction_set::neon) return f(neon::vectors{});
#endif
}

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace tightkv::detail
