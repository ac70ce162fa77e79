// SPDX-License-Identifier: Apache-2.0
/// The part of the CUDA runtime that executors use, over host memory: everything happens at once and in order, except
/// while a stream is captured, when it is recorded for its graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorIllegalState = 401,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum cudaStreamCaptureStatus {
  cudaStreamCaptureStatusNone,
  cudaStreamCaptureStatusActive,
  cudaStreamCaptureStatusInvalidated
};
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
inline constexpr unsigned cudaStreamNonBlocking = 1;

namespace cuda_on_cpu {

using work_list = std::vector<std::function<void()>>;

/// A stream, or, since it has all that one needs, a graph.
struct work_queue {
  std::shared_ptr<work_list> captured;  // while capturing
  bool capture_broken = false;
};
struct graph {
  std::shared_ptr<work_list> work;
};

/// What was asked of the runtime, so that a test can say "this call did not allocate and did not synchronise".
struct runtime_calls {
  int allocations = 0, synchronisations = 0, on_default_stream = 0;
};
inline runtime_calls& calls() {
  static thread_local runtime_calls c;
  return c;
}

}  // namespace cuda_on_cpu

using cudaStream_t = cuda_on_cpu::work_queue*;
using cudaGraph_t = cuda_on_cpu::graph*;
using cudaGraphExec_t = cuda_on_cpu::graph*;

namespace cuda_on_cpu {

inline cudaError_t& last_error() {
  static thread_local cudaError_t e = cudaSuccess;
  return e;
}
inline cudaError_t remember_error(cudaError_t e) {
  if (e != cudaSuccess) last_error() = e;
  return e;
}

/// Dynamic shared memory above 48 KiB has to be asked for, kernel by kernel.
inline std::map<void const*, std::size_t>& shared_limits() {
  static thread_local std::map<void const*, std::size_t> limits;
  return limits;
}
inline cudaError_t check_shared(void const* kernel, std::size_t bytes) {
  auto const found = shared_limits().find(kernel);
  std::size_t const limit = found == shared_limits().end() ? std::size_t{48} << 10 : found->second;
  return bytes <= limit ? cudaSuccess : cudaErrorInvalidValue;
}

template <class F>
cudaError_t enqueue(cudaStream_t stream, F&& work) {
  if (stream == nullptr) ++calls().on_default_stream;
  if (stream != nullptr && stream->captured != nullptr) {
    stream->captured->push_back(std::forward<F>(work));
  } else {
    work();
  }
  return cudaSuccess;
}
/// Something that a capture does not allow.
inline cudaError_t synchronise(cudaStream_t stream) {
  ++calls().synchronisations;
  if (stream != nullptr && stream->captured != nullptr) {
    stream->capture_broken = true;
    return remember_error(cudaErrorStreamCaptureUnsupported);
  }
  return cudaSuccess;
}

}  // namespace cuda_on_cpu

inline cudaError_t cudaGetLastError() { return std::exchange(cuda_on_cpu::last_error(), cudaSuccess); }
inline cudaError_t cudaPeekAtLastError() { return cuda_on_cpu::last_error(); }
inline char const* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorIllegalState:
      return "cudaErrorIllegalState";
  }
  return "unknown";
}
inline char const* cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }

// Memory. What was just allocated holds no zeros that a kernel could count on.
inline cudaError_t cudaMalloc(void** p, std::size_t bytes) {
  ++cuda_on_cpu::calls().allocations;
  if (posix_memalign(p, 256, bytes) != 0) return cuda_on_cpu::remember_error(cudaErrorMemoryAllocation);
  std::memset(*p, 0xcd, bytes);
  return cudaSuccess;
}
template <class T>
cudaError_t cudaMalloc(T** p, std::size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(p), bytes);
}
inline cudaError_t cudaFree(void* p) {
  std::free(p);
  return cudaSuccess;
}
inline cudaError_t cudaMallocAsync(void** p, std::size_t bytes, cudaStream_t) { return cudaMalloc(p, bytes); }
inline cudaError_t cudaFreeAsync(void* p, cudaStream_t) { return cudaFree(p); }
inline cudaError_t cudaMallocHost(void** p, std::size_t bytes) { return cudaMalloc(p, bytes); }
inline cudaError_t cudaFreeHost(void* p) { return cudaFree(p); }
inline cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return cuda_on_cpu::enqueue(stream, [=] {
    if (bytes > 0) std::memmove(to, from, bytes);
  });
}
inline cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, void const* from, std::size_t from_pitch,
                                     std::size_t width, std::size_t height, cudaMemcpyKind, cudaStream_t stream) {
  return cuda_on_cpu::enqueue(stream, [=] {
    for (std::size_t row = 0; row < height && width > 0; ++row) {
      std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<char const*>(from) + row * from_pitch, width);
    }
  });
}
inline cudaError_t cudaMemcpy(void* to, void const* from, std::size_t bytes, cudaMemcpyKind kind) {
  ++cuda_on_cpu::calls().synchronisations;
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return cuda_on_cpu::enqueue(stream, [=] {
    if (bytes > 0) std::memset(to, value, bytes);
  });
}
inline cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}

// Streams and graphs.
inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new cuda_on_cpu::work_queue;
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return cuda_on_cpu::synchronise(stream); }
inline cudaError_t cudaDeviceSynchronize() { return cuda_on_cpu::synchronise(nullptr); }
inline cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream == nullptr || stream->captured == nullptr ? cudaStreamCaptureStatusNone
            : stream->capture_broken                         ? cudaStreamCaptureStatusInvalidated
                                                             : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->captured != nullptr) return cuda_on_cpu::remember_error(cudaErrorIllegalState);
  stream->captured = std::make_shared<cuda_on_cpu::work_list>();
  stream->capture_broken = false;
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (stream == nullptr || stream->captured == nullptr) return cuda_on_cpu::remember_error(cudaErrorIllegalState);
  auto const work = std::exchange(stream->captured, nullptr);
  if (stream->capture_broken) return cuda_on_cpu::remember_error(cudaErrorStreamCaptureUnsupported);
  *graph = new cuda_on_cpu::graph{work};
  return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long = 0) {
  *executable = new cuda_on_cpu::graph(*graph);
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return cuda_on_cpu::enqueue(stream, [work = executable->work] {
    for (auto const& step : *work) step();
  });
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaGraphDestroy(executable); }

// Devices.
template <class F>
cudaError_t cudaFuncSetAttribute(F* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || value > 227 << 10) return cuda_on_cpu::remember_error(cudaErrorInvalidValue);
  cuda_on_cpu::shared_limits()[reinterpret_cast<void const*>(kernel)] = static_cast<std::size_t>(value);
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 227 << 10;
      break;
  }
  return cudaSuccess;
}
