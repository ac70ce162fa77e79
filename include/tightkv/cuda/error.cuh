// SPDX-License-Identifier: Apache-2.0
/// The CUDA runtime, and what becomes of its errors.
#pragma once

#if defined(TIGHTKV_CUDA_ON_CPU)  // the tests' emulator, never defined by users
#include <cuda_on_cpu/cuda_on_cpu.hpp>
#else
#include <cuda_runtime.h>
#endif

#include <stdexcept>
#include <string>

namespace tightkv {

/// The CUDA runtime refused. Says what was being done, and carries the code.
///
///     tightkv::cuda: lag_scores: invalid configuration argument
class cuda_error : public std::runtime_error {
 public:
  cuda_error(cudaError_t code, char const* what)
      : std::runtime_error(std::string("tightkv::cuda: ") + what + ": " + cudaGetErrorString(code)), code_(code) {}
  cudaError_t code() const noexcept { return code_; }

 private:
  cudaError_t code_;
};

namespace detail {

inline void check(cudaError_t code, char const* what) {
  if (code == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // thrown, so no longer pending
  throw cuda_error(code, what);
}

}  // namespace detail
}  // namespace tightkv
