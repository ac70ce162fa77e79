// SPDX-License-Identifier: Apache-2.0
/// The instruction sets that the fast CPU kernels are compiled for, and which of them the machine has.
///
/// A program for any x86-64 carries kernels for two, and chooses when it runs. A translation unit compiled for one of
/// them (`-march=x86-64-v3`, `-march=x86-64-v4`, or a machine that has it) carries that one alone. What depends on the
/// choice is in an inline namespace that says so: translation units compiled for different machines can be linked, and
/// each keeps its own kernels.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define TIGHTKV_X86_64_V4
#define TIGHTKV_KERNELS_FOR x86_64_v4_alone
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define TIGHTKV_X86_64_V3
#define TIGHTKV_KERNELS_FOR x86_64_v3_alone
#else
#define TIGHTKV_X86_64_V3
#define TIGHTKV_X86_64_V4
#define TIGHTKV_KERNELS_FOR any_x86_64
#endif
#elif defined(__aarch64__) && defined(__GNUC__)
#define TIGHTKV_NEON
#define TIGHTKV_KERNELS_FOR any_arm64
#else
#define TIGHTKV_KERNELS_FOR any_machine
#endif

namespace tightkv {

/// `none` runs the plain kernels. v3 is AVX2 with FMA and F16C, v4 adds AVX-512 F, BW, DQ and VL.
enum class instruction_set { none, neon, x86_64_v3, x86_64_v4 };

inline namespace TIGHTKV_KERNELS_FOR {

/// Whether there are kernels for `set`, and the machine can run them.
inline bool runs(instruction_set set) noexcept {
  switch (set) {
    case instruction_set::none:
      return true;
#if defined(TIGHTKV_NEON)
    case instruction_set::neon:
      return true;
#endif
#if defined(TIGHTKV_X86_64_V3)
    case instruction_set::x86_64_v3:  // every machine with AVX2 has F16C
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#if defined(TIGHTKV_X86_64_V4)
    case instruction_set::x86_64_v4:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    default:
      return false;
  }
}

/// The fastest set that runs here.
inline instruction_set best_instruction_set() noexcept {
  if (runs(instruction_set::x86_64_v4)) return instruction_set::x86_64_v4;
  if (runs(instruction_set::x86_64_v3)) return instruction_set::x86_64_v3;
  return runs(instruction_set::neon) ? instruction_set::neon : instruction_set::none;
}

/// Whether kernels for `set` may multiply pairs of bfloat16: AVX-512 BF16, beside v4.
inline bool multiplies_bfloat16([[maybe_unused]] instruction_set set) noexcept {
#if defined(TIGHTKV_X86_64_V4)
  return set == instruction_set::x86_64_v4 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace tightkv
