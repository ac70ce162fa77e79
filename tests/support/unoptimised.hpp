// SPDX-License-Identifier: Apache-2.0
/// For files that instantiate the library for every layout and element type: hundreds of instantiations that run for a
/// moment, and that an optimiser would spend minutes on. Include it before the library.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#pragma GCC optimize("O0")
#endif
