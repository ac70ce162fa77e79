// SPDX-License-Identifier: Apache-2.0
/// A whole model's cache, compressed by one replay of a CUDA graph: three launches for all layers.
#include <iostream>
#include <vector>

#include <tightkv/cuda.cuh>

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::cout << "no GPU here\n";
    return 0;
  }
  constexpr int layers = 4;
  tightkv::kv_shape const shape{.heads = 8, .tokens = 1000, .head_dim = 64};
  std::size_t const elements = 8 * 1000 * 64;
  tightkv::bfloat16* cache = nullptr;  // [layer][keys, values][head][token][head_dim]
  cudaStream_t stream = nullptr;
  cudaStreamCreate(&stream);
  cudaMalloc(&cache, layers * 2 * elements * sizeof *cache);
  cudaMemsetAsync(cache, 0x3d, layers * 2 * elements * sizeof *cache, stream);

  // One plane per layer. A batch of them is one cache with four times as many heads.
  using plane = decltype(tightkv::hnd(cache, shape, tightkv::device_memory{}));
  std::vector<plane> keys, values;
  for (int layer = 0; layer < layers; ++layer) {
    keys.push_back(tightkv::hnd(cache + (2 * layer) * elements, shape, tightkv::device_memory{}));
    values.push_back(tightkv::hnd(cache + (2 * layer + 1) * elements, shape, tightkv::device_memory{}));
  }
  tightkv::kv_view const view{tightkv::batch(keys), tightkv::batch(values)};
  tightkv::lag_kv const method{.keep = {0.25}};

  auto const needed = tightkv::workspace_bytes([&](auto const& ex) { tightkv::decide(ex, method, view); });
  void* memory = nullptr;
  cudaMalloc(&memory, needed);
  tightkv::workspace space(memory, needed);
  tightkv::cuda const ex{stream, &space};

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
  tightkv::lag_kv::state state;
  int const kept = tightkv::compress(ex, method, view, state).plan.after(0);
  cudaStreamEndCapture(stream, &graph);
  cudaGraphInstantiate(&executable, graph, 0);

  cudaGraphLaunch(executable, stream);  // as often as a cache of these lengths is to be compressed
  ex.wait();
  std::cout << "keeps " << kept << " of 1000 tokens per head in each of " << layers << " layers\n";
  return kept == 424 ? 0 : 1;
}
