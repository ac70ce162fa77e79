// SPDX-License-Identifier: Apache-2.0
// The runtime's stubs: memory, streams, captured graphs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cuda_on_cpu/cuda_on_cpu.hpp>

#include <array>

namespace runtime_test {

__global__ void adds(int* x, int amount) { x[threadIdx.x] += amount; }

struct stream_and_memory : testing::Test {
  stream_and_memory() {
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaMalloc(&x, 4 * sizeof(int));
    cudaMemsetAsync(x, 0, 4 * sizeof(int), stream);
  }
  ~stream_and_memory() override {
    cudaFree(x);
    cudaStreamDestroy(stream);
  }
  std::array<int, 4> values() const {
    std::array<int, 4> copy{};
    cudaMemcpyAsync(copy.data(), x, sizeof copy, cudaMemcpyDeviceToHost, stream);
    cudaStreamSynchronize(stream);
    return copy;
  }
  cudaError_t add(int amount) { return cuda_on_cpu::launch(adds, {.grid = 1, .block = 4}, stream, "adds", x, amount); }

  cudaStream_t stream = nullptr;
  int* x = nullptr;
};

TEST_F(stream_and_memory, a_stream_runs_at_once) {
  add(3);
  EXPECT_THAT(values(), testing::ElementsAre(3, 3, 3, 3));
}

TEST_F(stream_and_memory, a_graph_runs_when_it_is_launched) {
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
  add(1);
  add(10);
  cudaStreamCaptureStatus status{};
  cudaStreamIsCapturing(stream, &status);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_THAT(values(), testing::Each(0));

  cudaGraphExec_t executable = nullptr;
  cudaGraphInstantiate(&executable, graph);
  cudaGraphDestroy(graph);
  for (int i = 0; i < 3; ++i) cudaGraphLaunch(executable, stream);
  cudaGraphExecDestroy(executable);
  EXPECT_THAT(values(), testing::Each(33));
}

TEST_F(stream_and_memory, a_capture_does_not_survive_a_wait) {
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(graph, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorStreamCaptureUnsupported);
}

TEST_F(stream_and_memory, calls_are_counted) {
  cuda_on_cpu::calls() = {};
  add(1);
  EXPECT_EQ(cuda_on_cpu::calls().on_default_stream + cuda_on_cpu::calls().synchronisations, 0);
  cudaMemset(x, 0, 4);
  static_cast<void>(values());
  EXPECT_EQ(cuda_on_cpu::calls().on_default_stream, 1);
  EXPECT_EQ(cuda_on_cpu::calls().synchronisations, 1);
  EXPECT_EQ(cuda_on_cpu::calls().allocations, 0);
}

__global__ void reads_shared(int* out, int n) { *out = cuda_on_cpu::dynamic_shared<int>()[n - 1] = 5; }

TEST_F(stream_and_memory, more_shared_memory_has_to_be_asked_for) {
  cuda_on_cpu::launch_shape const shape{.grid = 1, .block = 1, .shared_bytes = 100 << 10};
  EXPECT_EQ(cuda_on_cpu::launch(reads_shared, shape, stream, "reads_shared", x, 100 << 8), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(reads_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(reads_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10), cudaSuccess);
  EXPECT_EQ(cuda_on_cpu::launch(reads_shared, shape, stream, "reads_shared", x, 100 << 8), cudaSuccess);
  EXPECT_EQ(values()[0], 5);
  cudaGetLastError();
}

}  // namespace runtime_test
