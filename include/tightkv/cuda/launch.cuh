// SPDX-License-Identifier: Apache-2.0
/// How kernels are launched, and where they find their shared memory: the only file that knows of `<<<>>>`.
#pragma once

#include <cstddef>
#include <type_traits>

#include <tightkv/cuda/error.cuh>

namespace tightkv::detail {

struct launch_shape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
};

/// Launches `kernel(args...)`. `what` is what the error speaks of.
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), launch_shape const& shape, cudaStream_t stream, char const* what,
            Args const&... args) {
  constexpr std::size_t without_asking = std::size_t{48} << 10;
  if (shape.shared_bytes > without_asking) {
    auto const bytes = static_cast<int>(shape.shared_bytes);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), what);
  }
#if defined(TIGHTKV_CUDA_ON_CPU)
  check(cuda_on_cpu::launch(kernel, {shape.grid, shape.block, shape.shared_bytes}, stream, what, args...), what);
#else
  static_cast<void>(cudaGetLastError());  // an error of somebody else's is not this launch's
  kernel<<<shape.grid, shape.block, shape.shared_bytes, stream>>>(static_cast<Parameters>(args)...);
  check(cudaGetLastError(), what);
#endif
}

#if defined(TIGHTKV_CUDA_ON_CPU)
/// A pointer into the block's shared memory.
template <class T>
using shared = cuda_on_cpu::shared_pointer<T>;

template <class T>
shared<T> dynamic_shared(std::size_t offset = 0) {
  return cuda_on_cpu::dynamic_shared<T>(offset);
}

/// The same place as a pointer to U.
template <class U, class T>
shared<U> shared_as(cuda_on_cpu::shared_pointer<T> p) {
  return p.template as<U>();
}
#else
/// A pointer into the block's shared memory.
template <class T>
using shared = T*;

/// The launch's shared memory, from `offset` bytes on.
template <class T>
__device__ shared<T> dynamic_shared(std::size_t offset = 0) {
  extern __shared__ __align__(16) unsigned char tightkv_shared_memory[];
  return reinterpret_cast<T*>(tightkv_shared_memory + offset);
}

/// The same place as a pointer to U.
template <class U, class T>
__device__ shared<U> shared_as(T* p) {
  return reinterpret_cast<U*>(p);
}
#endif

}  // namespace tightkv::detail
