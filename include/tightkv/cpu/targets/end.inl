// SPDX-License-Identifier: Apache-2.0
#if defined(__CUDACC__)
#pragma nv_diagnostic pop
#endif
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang diagnostic pop
#else
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif
