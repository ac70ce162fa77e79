// SPDX-License-Identifier: Apache-2.0
/// One layer's cache in device memory: KeyDiff keeps a quarter of the tokens, on a stream, in a workspace of the
/// caller's. Nothing is allocated and nothing waits until the answer is wanted.
#include <iostream>

#include <tightkv/cuda.cuh>

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::cout << "no GPU here\n";
    return 0;
  }
  // What an engine already has: keys and values of 8 KV heads, 1000 tokens, [head][token][head_dim], and a stream.
  tightkv::kv_shape const shape{.heads = 8, .tokens = 1000, .head_dim = 64};
  std::size_t const bytes = sizeof(tightkv::half) * 8 * 1000 * 64;
  tightkv::half *keys = nullptr, *values = nullptr;
  cudaStream_t stream = nullptr;
  cudaStreamCreate(&stream);
  cudaMalloc(&keys, bytes);
  cudaMalloc(&values, bytes);
  cudaMemsetAsync(keys, 0x33, bytes, stream);
  cudaMemsetAsync(values, 0x35, bytes, stream);

  // Say where it is. A view of device memory given to `cpu{}` does not compile.
  auto const view = tightkv::kv_view{tightkv::hnd(keys, shape, tightkv::device_memory{}),
                                     tightkv::hnd(values, shape, tightkv::device_memory{})};

  // Give what scores and plan need, which is known before anything runs.
  tightkv::key_diff const method{.budget = tightkv::keep_ratio{0.25}};
  auto const needed = tightkv::workspace_bytes([&](auto const& ex) { tightkv::decide(ex, method, view); });
  void* memory = nullptr;
  cudaMalloc(&memory, needed);
  tightkv::workspace space(memory, needed);

  // The same call as on the CPU. It returns at once; the new lengths follow from the budget, so they are known already.
  tightkv::cuda const ex{stream, &space};
  tightkv::key_diff::state state;
  auto const done = tightkv::compress(ex, method, view, state);
  std::cout << "keeps " << done.plan.after(0) << " of " << done.plan.before(0) << " tokens per head, with " << needed
            << " bytes of workspace\n";
  auto const plan = tightkv::to_host(ex, done.plan);                // waits for the stream
  return plan.after(7) == 250 && plan.kept(7)[249] == 249 ? 0 : 1;  // all keys are alike: the earliest stay
}
