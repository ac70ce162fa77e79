// SPDX-License-Identifier: Apache-2.0
// Includes the file TIGHTKV_KERNELS once for each instruction set: compiled for it, in the namespace of its vectors.
#if defined(TIGHTKV_X86_64_V3)
#include <tightkv/cpu/targets/begin_x86_64_v3.inl>
namespace tightkv::detail::x86_64_v3 {
#include TIGHTKV_KERNELS
}
#include <tightkv/cpu/targets/end.inl>
#endif

#if defined(TIGHTKV_X86_64_V4)
#include <tightkv/cpu/targets/begin_x86_64_v4.inl>
namespace tightkv::detail::x86_64_v4 {
#include TIGHTKV_KERNELS
}
#include <tightkv/cpu/targets/end.inl>
#endif

#if defined(TIGHTKV_NEON)
namespace tightkv::detail::neon {
#include TIGHTKV_KERNELS
}
#endif
#undef TIGHTKV_KERNELS
