// SPDX-License-Identifier: Apache-2.0
/// Rows of the cache's element type to floats and back, many at a time.
#pragma once

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include <cstddef>

#include <tightkv/core/half.hpp>

namespace engine {

template <class T>
void to_float(T const* from, std::ptrdiff_t n, float* to) {
  for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]);
}

#if defined(__F16C__)
// Eight at a time; attention reads the whole cache through this for each new token.
inline void to_float(tightkv::half const* from, std::ptrdiff_t n, float* to) {
  std::ptrdiff_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<__m128i const*>(from + i))));
  }
  for (; i < n; ++i) to[i] = static_cast<float>(from[i]);
}
#endif

template <class T>
void from_float(float const* from, std::ptrdiff_t n, T* to) {
  for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i]);
}

}  // namespace engine
