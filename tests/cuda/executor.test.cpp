// SPDX-License-Identifier: Apache-2.0
/// The executor's promises: a workspace of the size that was asked for is enough, nothing is allocated or waited for,
/// and a captured graph gives the same bits at every replay; one call serves any number of layers.
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "device.hpp"

#include <tightkv/cuda.cuh>

namespace executor_test {

using namespace tests;
using tightkv::half;

/// Layers of a cache, one after another.
struct layers {
  tightkv::kv_shape shape;
  int count;
  std::vector<half> content;
  device_bytes memory;

  layers(tightkv::kv_shape const& s, int n, unsigned seed)
      : shape(s), count(n), content(random(s, n, seed)), memory(std::as_bytes(std::span(content))) {}

  template <class Memory>
  auto planes(half* first, Memory space) const {
    std::vector<decltype(tightkv::hnd(first, shape, space))> all;
    auto const size = content.size() / static_cast<std::size_t>(count);
    for (int i = 0; i < count; ++i)
      all.push_back(tightkv::hnd(first + static_cast<std::size_t>(i) * size, shape, space));
    return all;
  }
  auto here() { return planes(content.data(), tightkv::host_memory{}); }
  auto there() const { return planes(reinterpret_cast<half*>(memory.data()), device_memory{}); }
  bool same() const {
    auto const got = memory.on_host();
    return std::memcmp(got.data(), content.data(), got.size()) == 0;
  }
  void restore(std::vector<std::byte> const& bytes) const {
    expect_success(cudaMemcpy(memory.data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  }

 private:
  static std::vector<half> random(tightkv::kv_shape const& s, int n, unsigned seed) {
    std::vector<half> values;
    auto const count = static_cast<std::size_t>(n * s.heads) * static_cast<std::size_t>(s.tokens * s.head_dim);
    for (double const x : random_numbers(count, seed)) values.push_back(element<half>(x));
    return values;
  }
};

tightkv::lag_kv const method{.keep = {0.5}, .lag = 8, .sink = 2};

TEST(cuda_executor, replays_a_captured_compression_with_the_same_bits) {
  layers keys({.heads = 2, .tokens = 60, .head_dim = 32}, 3, 1);
  layers values({.heads = 2, .tokens = 60, .head_dim = 32}, 3, 2);
  auto const before = std::pair(keys.memory.on_host(), values.memory.on_host());
  auto const device_keys = keys.there();
  auto const device_values = values.there();
  tightkv::kv_view const view{tightkv::batch(device_keys), tightkv::batch(device_values)};
  auto const bytes = tightkv::workspace_bytes([&](auto const& ex) { tightkv::decide(ex, method, view); });
  device_bytes const memory(std::vector<std::byte>(bytes + 256));
  auto const aligned = (reinterpret_cast<std::uintptr_t>(memory.data()) + 255) / 256 * 256;
  tightkv::workspace space(reinterpret_cast<void*>(aligned), bytes);
  cudaStream_t stream = nullptr;
  expect_success(cudaStreamCreate(&stream));
  tightkv::cuda const ex{stream, &space};

#if defined(TIGHTKV_CUDA_ON_CPU)
  auto const calls = cuda_on_cpu::calls();
#endif
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  expect_success(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  {
    tightkv::lag_kv::state state;
    auto const done = tightkv::compress(ex, method, view, state);
    EXPECT_EQ(done.plan.after(0), 2 + 6 * 4 + 10);
    EXPECT_EQ(space.peak(), bytes);
  }
  EXPECT_EQ(space.used(), 0U);
  expect_success(cudaStreamEndCapture(stream, &graph));
#if defined(TIGHTKV_CUDA_ON_CPU)
  EXPECT_EQ(cuda_on_cpu::calls().allocations, calls.allocations);
  EXPECT_EQ(cuda_on_cpu::calls().synchronisations, calls.synchronisations);
  EXPECT_EQ(cuda_on_cpu::calls().on_default_stream, calls.on_default_stream);
#endif
  EXPECT_TRUE(keys.memory.on_host() == before.first) << "capturing moved rows";
  expect_success(cudaGraphInstantiate(&executable, graph, 0));

  auto const host_keys = keys.here();
  auto const host_values = values.here();
  tightkv::lag_kv::state state;
  tightkv::kv_view const host_view{tightkv::batch(host_keys), tightkv::batch(host_values)};
  tightkv::compress(plain{}, method, host_view, state);
  for (int replay = 0; replay < 2; ++replay) {
    SCOPED_TRACE(replay);
    keys.restore(before.first);
    values.restore(before.second);
    expect_success(cudaGraphLaunch(executable, stream));
    ex.wait();
    EXPECT_TRUE(keys.same());
    EXPECT_TRUE(values.same());
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST(cuda_executor, refuses_a_workspace_that_is_too_small_before_anything_is_touched) {
  layers keys({.heads = 1, .tokens = 40, .head_dim = 32}, 1, 1);
  auto const planes = keys.there();
  tightkv::kv_view const view(planes[0], planes[0]);
  device_bytes const room(std::vector<std::byte>(256));
  tightkv::workspace space(room.data(), 256);
  tightkv::lag_kv::state state;
  EXPECT_THROW(tightkv::compress(tightkv::cuda{.stream = nullptr, .space = &space}, method, view, state),
               tightkv::bad_argument);
  EXPECT_TRUE(keys.same());
  EXPECT_THROW(tightkv::workspace(room.data() + 8, 8), tightkv::bad_argument);
}

TEST(cuda_executor, serves_more_layers_than_one_launch_can_take) {
  layers keys({.heads = 1, .tokens = 36, .head_dim = 16}, 70, 1);
  layers values({.heads = 1, .tokens = 36, .head_dim = 16}, 70, 2);
  auto const device_keys = keys.there();
  auto const device_values = values.there();
  auto const host_keys = keys.here();
  auto const host_values = values.here();
  tightkv::lag_kv::state state;
  tightkv::lag_kv::state host_state;
  tightkv::kv_view const view{tightkv::batch(device_keys), tightkv::batch(device_values)};
  tightkv::kv_view const host_view{tightkv::batch(host_keys), tightkv::batch(host_values)};
  tightkv::cuda const ex{};
  auto const got = tightkv::compress(ex, method, view, state);
  auto const want = tightkv::compress(plain{}, method, host_view, host_state);
  EXPECT_EQ(to_host(ex, got.plan), want.plan);
  EXPECT_TRUE(keys.same());
  EXPECT_TRUE(values.same());
}

TEST(cuda_executor, says_what_was_being_launched) {
  tightkv::detail::parcel const nothing{};
  std::uint32_t* const nowhere = nullptr;
  try {
    tightkv::detail::launch(tightkv::cuda{}, "a test", tightkv::detail::unpack_kernel<tightkv::detail::parcel>,
                            {1, 4096}, nothing, nowhere, 0);
    FAIL() << "a block of 4096 threads was launched";
  } catch (tightkv::cuda_error const& e) {
    EXPECT_NE(e.code(), cudaSuccess);
    EXPECT_NE(std::string(e.what()).find("a test"), std::string::npos) << e.what();
  }
}

TEST(cuda_executor, scores_partitions_too_long_for_shared_memory) {
  constexpr int lag = 1030;
  layers keys({.heads = 1, .tokens = 3 * lag, .head_dim = 16}, 1, 1);
  auto const there = keys.there();
  auto const here = keys.here();
  std::vector<int> const first{0};
  tightkv::lag_scores_fn::parameters const p{.partitions = {.first = first, .lag = lag}};
  tightkv::cuda const ex{};
  auto got = tightkv::make_scores(ex, 1, 3 * lag);
  auto want = tightkv::make_scores(plain{}, 1, 3 * lag);
  tightkv::lag_scores(ex, tightkv::kv_view(there[0], there[0]), p, got.view());
  tightkv::lag_scores(plain{}, tightkv::kv_view(here[0], here[0]), p, want.view());
  expect_same_bits(to_host(ex, got), want);
}

}  // namespace executor_test
