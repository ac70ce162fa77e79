// SPDX-License-Identifier: Apache-2.0
/// `TIGHTKV_HD` marks functions that also run on a device. It is the only thing that differs between compilers.
#pragma once

#if defined(__CUDACC__)
#define TIGHTKV_HD __host__ __device__
#else
#define TIGHTKV_HD
#endif
