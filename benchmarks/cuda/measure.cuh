// SPDX-License-Identifier: Apache-2.0
/// How the GPU benchmarks measure: a captured graph, replayed between two events; medians; one JSON object a line.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <tightkv/cuda.cuh>

namespace bench {

inline void check(cudaError_t e, char const* what) { tightkv::detail::check(e, what); }

/// Device memory, freed at the end.
class device_memory {
 public:
  explicit device_memory(std::size_t bytes) { check(cudaMalloc(&data_, bytes), "allocating"); }
  device_memory(device_memory const&) = delete;
  device_memory& operator=(device_memory const&) = delete;
  ~device_memory() { cudaFree(data_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

/// What one replay takes, and what was replayed.
struct timing {
  double median_us = 0;
  double spread = 0;  // between the quartiles, as a part of the median
  int kernels = 0;    // in the graph
};

/// Captures what `calls(stream)` puts on the stream, replays it, and times each replay.
inline timing replay(cudaStream_t stream, std::function<void()> const& calls, int repetitions = 15) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capturing");
  calls();
  check(cudaStreamEndCapture(stream, &graph), "capturing");
  check(cudaGraphInstantiate(&executable, graph, 0), "instantiating");

  timing t;
  std::size_t count = 0;
  check(cudaGraphGetNodes(graph, nullptr, &count), "counting nodes");
  std::vector<cudaGraphNode_t> nodes(count);
  check(cudaGraphGetNodes(graph, nodes.data(), &count), "counting nodes");
  for (auto node : nodes) {
    cudaGraphNodeType type{};
    check(cudaGraphNodeGetType(node, &type), "asking for a node's type");
    t.kernels += type == cudaGraphNodeTypeKernel ? 1 : 0;
  }

  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  check(cudaEventCreate(&begin), "making an event");
  check(cudaEventCreate(&end), "making an event");
  std::vector<double> us;
  for (int i = 0; i < repetitions + 3; ++i) {
    check(cudaEventRecord(begin, stream), "recording");
    check(cudaGraphLaunch(executable, stream), "replaying");
    check(cudaEventRecord(end, stream), "recording");
    check(cudaEventSynchronize(end), "waiting");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "timing");
    if (i >= 3) us.push_back(static_cast<double>(ms) * 1e3);
  }
  std::sort(us.begin(), us.end());
  auto const at = [&](double q) { return us[static_cast<std::size_t>(q * static_cast<double>(us.size() - 1))]; };
  t.median_us = at(0.5);
  t.spread = (at(0.75) - at(0.25)) / t.median_us;
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  return t;
}

/// One row of the table. `floor_bytes` is what must be moved at least, read and write counted; 0 where that says
/// little.
inline void report(std::string const& name, std::string const& shape, timing const& t, double floor_bytes) {
  std::printf(
      "{\"name\": \"%s\", \"shape\": \"%s\", \"us\": %.2f, \"spread\": %.3f, \"kernels\": %d, \"floor_bytes\": %.0f}\n",
      name.c_str(), shape.c_str(), t.median_us, t.spread, t.kernels, floor_bytes);
  std::fflush(stdout);
}

}  // namespace bench
