// SPDX-License-Identifier: Apache-2.0
// What the counters say of access patterns whose cost is known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cuda_on_cpu/cuda_on_cpu.hpp>

#include <array>
#include <cstddef>

namespace traffic_test {

/// Device memory of floats.
struct floats {
  explicit floats(std::size_t n) : bytes(n * sizeof(float)) { cudaMalloc(&p, bytes); }
  floats(floats const&) = delete;
  floats& operator=(floats const&) = delete;
  ~floats() { cudaFree(p); }
  float* p = nullptr;
  std::size_t bytes;
};

template <class T>
[[gnu::always_inline]] inline T load(T const* p) {
  cuda_on_cpu::on_load(p, sizeof(T));
  return *p;
}
template <class T>
[[gnu::always_inline]] inline void store(T* p, T value) {
  cuda_on_cpu::on_store(p, sizeof(T));
  *p = value;
}

__global__ void copies(float const* from, float* to, int step) {
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 64) store(to + i, load(from + i * step));
}

TEST(traffic, contiguous_accesses_are_all_useful) {
  floats const from(256), to(256);
  for (unsigned seed : {0U, 1U, 2U}) {
    cuda_on_cpu::settings().seed = seed;
    cuda_on_cpu::traffic_counter counter;
    counter.watch("from", from.p, from.bytes);
    cuda_on_cpu::launch(copies, {.grid = 1, .block = 64}, nullptr, "copies", from.p, to.p, 1);
    EXPECT_EQ(counter.of("from").loads.bytes, 1024U);
    EXPECT_EQ(counter.of("from").loads.requests, 8U);
    EXPECT_EQ(counter.of("from").stores.bytes, 0U);
    EXPECT_EQ(counter.total().loads.sectors, 32U);
    EXPECT_EQ(counter.total().loads.efficiency(), 1);
    EXPECT_EQ(counter.total().stores.bytes, 1024U);
    EXPECT_EQ(counter.kernels()["copies"].launches, 1U);
  }
  cuda_on_cpu::settings().seed = 1;
}

TEST(traffic, strides_waste_sectors) {
  floats const from(2048), to(256);
  cuda_on_cpu::traffic_counter counter;
  cuda_on_cpu::launch(copies, {.grid = 1, .block = 64}, nullptr, "copies", from.p, to.p, 8);
  EXPECT_EQ(counter.total().loads.bytes, 1024U);
  EXPECT_EQ(counter.total().loads.sectors, 256U);  // one for each float
  EXPECT_EQ(counter.total().loads.efficiency(), 1.0 / 8);
}

__global__ void one_for_all(float const* from, float* to) {
  float const x = load(from);
  __syncthreads();
  if (threadIdx.x == 0) store(to, x);
}

TEST(traffic, lanes_that_load_the_same_bytes_load_them_once) {
  floats const from(8), to(8);
  cuda_on_cpu::traffic_counter counter;
  cuda_on_cpu::launch(one_for_all, {.grid = 3, .block = 48}, nullptr, "one_for_all", from.p, to.p);
  EXPECT_EQ(counter.total().loads.requests, 6U);  // two warps in three blocks
  EXPECT_EQ(counter.total().loads.bytes, 24U);
  EXPECT_EQ(counter.total().stores.requests, 3U);
  EXPECT_EQ(counter.total().barriers, 3U);
}

__global__ void shared_columns(float* out, int stride, int width) {
  auto const a = cuda_on_cpu::dynamic_shared<float>();
  for (int i = 0; i < width; ++i) a[static_cast<int>(threadIdx.x) * stride + i] = 1;
  __syncwarp();
  if (width == 4) {
    store(out + threadIdx.x, (a + static_cast<int>(threadIdx.x) * stride).load<float4>().x);
  } else {
    store(out + threadIdx.x, float(a[static_cast<int>(threadIdx.x) * stride]));
  }
}

cuda_on_cpu::shared_counts columns(int stride, int width) {
  floats const out(32);
  cuda_on_cpu::traffic_counter counter;
  cuda_on_cpu::launch(shared_columns, {.grid = 1, .block = 32, .shared_bytes = 16384}, nullptr, "columns", out.p,
                      stride, width);
  return counter.total().shared;
}

TEST(traffic, bank_conflicts) {
  EXPECT_EQ(columns(1, 1).worst_conflict, 1U);
  EXPECT_EQ(columns(33, 1).worst_conflict, 1U);
  EXPECT_EQ(columns(2, 1).worst_conflict, 2U);
  EXPECT_EQ(columns(32, 1).worst_conflict, 32U);
  EXPECT_EQ(columns(32, 1).wavefronts, 64U);
  EXPECT_EQ(columns(32, 1).requests, 2U);
}

TEST(traffic, wide_shared_accesses_go_in_parts) {
  // Four stores of a float at stride 4 conflict four ways each; the load of 16 bytes goes in four parts of eight lanes.
  auto const c = columns(4, 4);
  EXPECT_EQ(c.requests, 5U);
  EXPECT_EQ(c.wavefronts, 4U * 4 + 4);
  EXPECT_EQ(c.ideal, 4U + 4);
  EXPECT_EQ(c.worst_conflict, 4U);
}

TEST(traffic, nothing_is_counted_without_a_counter) {
  floats const from(256), to(256);
  { cuda_on_cpu::traffic_counter counter; }
  cuda_on_cpu::launch(copies, {.grid = 1, .block = 64}, nullptr, "copies", from.p, to.p, 1);
  cuda_on_cpu::traffic_counter counter;
  EXPECT_EQ(counter.total().launches, 0U);
}

}  // namespace traffic_test
