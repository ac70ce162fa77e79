// SPDX-License-Identifier: Apache-2.0
// Kernels that are right: nothing to report, and the same answer under every seed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cuda_on_cpu/cuda_on_cpu.hpp>

#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

namespace right_kernels_test {

using cuda_on_cpu::dynamic_shared;
using cuda_on_cpu::shared_array;

constexpr unsigned all_lanes = 0xffffffffU;

int lane() { return static_cast<int>(threadIdx.x % 32); }
int index() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }

/// Runs `f` under many seeds; it launches and checks.
void under_every_seed(std::function<void()> const& f) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    cuda_on_cpu::settings().seed = seed;
    SCOPED_TRACE(seed);
    f();
  }
  cuda_on_cpu::settings().seed = 1;
}

__global__ void block_sums(float const* x, float* out) {
  __shared__ shared_array<float, 4> partial;
  float sum = x[index()];
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(all_lanes, sum, d);
  if (lane() == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = partial[0] + partial[1] + partial[2] + partial[3];
}

TEST(right_kernels, reduction) {
  std::vector<float> x(512);
  std::iota(x.begin(), x.end(), 0.0F);
  under_every_seed([&] {
    std::vector<float> out(4);
    cuda_on_cpu::launch(block_sums, {.grid = 4, .block = 128}, nullptr, "block_sums", x.data(), out.data());
    EXPECT_THAT(out, testing::ElementsAre(8128, 24512, 40896, 57280));
  });
}

__global__ void running_sums(int const* x, int* out) {
  auto const totals = dynamic_shared<int>();
  int sum = x[index()];
  for (unsigned d = 1; d < 32; d *= 2) {
    int const before = __shfl_up_sync(all_lanes, sum, d);
    if (lane() >= static_cast<int>(d)) sum += before;
  }
  if (lane() == 31) totals[threadIdx.x / 32] = sum;
  __syncthreads();
  for (unsigned w = 0; w < threadIdx.x / 32; ++w) sum += totals[w];
  out[index()] = sum;
}

TEST(right_kernels, scan) {
  std::vector<int> x(1024, 1), expected(1024);
  std::iota(expected.begin(), expected.end(), 1);
  under_every_seed([&] {
    std::vector<int> out(1024);
    cuda_on_cpu::launch(running_sums, {.grid = 1, .block = 1024, .shared_bytes = 128}, nullptr, "running_sums",
                        x.data(), out.data());
    EXPECT_EQ(out, expected);
  });
}

__global__ void transposed_in_a_warp(int* out) {
  __shared__ shared_array<int, 32 * 33> tile;
  for (int turn = 0; turn < 3; ++turn) {
    for (int r = 0; r < 32; ++r) tile[static_cast<std::size_t>(r * 33 + lane())] = turn + r * 32 + lane();
    __syncwarp();
    for (int r = 0; r < 32; ++r) out[r * 32 + lane()] = tile[static_cast<std::size_t>(lane() * 33 + r)];
    __syncwarp();
  }
}

TEST(right_kernels, a_warp_that_exchanges_through_shared_memory) {
  under_every_seed([&] {
    std::vector<int> out(1024);
    cuda_on_cpu::launch(transposed_in_a_warp, {.grid = 1, .block = 32}, nullptr, "transposed", out.data());
    for (int i = 0; i < 1024; ++i) ASSERT_EQ(out[static_cast<std::size_t>(i)], 2 + i % 32 * 32 + i / 32);
  });
}

// A lane writes both halves of a word, then only one of them.
__global__ void halves_of_words(int* out) {
  __shared__ shared_array<std::uint16_t, 66> halves;
  for (int turn = 0; turn < 2; ++turn) {
    for (int i = 0; i < 2; ++i)
      halves[static_cast<std::size_t>(2 * lane() + turn + i)] = static_cast<std::uint16_t>(turn);
    __syncwarp();
    out[lane()] = halves[static_cast<std::size_t>(2 * lane() + turn)];
    __syncwarp();
  }
}

TEST(right_kernels, halves_of_words_with_other_owners_in_turn) {
  under_every_seed([&] {
    std::vector<int> out(32);
    cuda_on_cpu::launch(halves_of_words, {.grid = 1, .block = 32}, nullptr, "halves", out.data());
    EXPECT_EQ(out, std::vector<int>(32, 1));
  });
}

__global__ void histogram(std::uint8_t const* x, int n, unsigned* out) {
  __shared__ shared_array<unsigned, 256> counts;
  for (unsigned b = threadIdx.x; b < 256; b += blockDim.x) counts[b] = 0;
  __syncthreads();
  for (int i = index(); i < n; i += static_cast<int>(blockDim.x * gridDim.x)) {
    unsigned const same = __match_any_sync(__ballot_sync(all_lanes, 1), x[i]);
    if (__ffs(static_cast<int>(same)) - 1 == lane()) atomicAdd(&counts[x[i]], static_cast<unsigned>(__popc(same)));
  }
  __syncthreads();
  for (unsigned b = threadIdx.x; b < 256; b += blockDim.x) {
    unsigned const c = counts[b];
    if (c > 0) atomicAdd(out + b, c);
  }
}

TEST(right_kernels, histogram_with_matches_and_atomics) {
  std::vector<std::uint8_t> x(4096);
  std::vector<unsigned> expected(256);
  for (std::size_t i = 0; i < x.size(); ++i) ++expected[x[i] = static_cast<std::uint8_t>(i * i / 7)];
  under_every_seed([&] {
    std::vector<unsigned> out(256);
    cuda_on_cpu::launch(histogram, {.grid = 4, .block = 64}, nullptr, "histogram", x.data(), 4096, out.data());
    EXPECT_EQ(out, expected);
  });
}

__global__ void reductions(int* out) {
  unsigned const mask = lane() >= 20 ? 0xfff00000U : 0x000fffffU;
  int const x = lane() - 16;
  out[threadIdx.x] = __reduce_add_sync(mask, x) * 10000 + __reduce_min_sync(mask, x) * 100 + __reduce_max_sync(mask, x);
  // As unsigned, what is negative is large.
  unsigned const most = __reduce_max_sync(mask, static_cast<unsigned>(x));
  if (most != (lane() >= 20 ? 15U : 0xffffffffU)) out[threadIdx.x] = 0;
}

TEST(right_kernels, reductions_of_some_lanes) {
  under_every_seed([&] {
    std::vector<int> out(64);
    cuda_on_cpu::launch(reductions, {.grid = 1, .block = 64}, nullptr, "reductions", out.data());
    for (int i = 0; i < 64; ++i) {
      bool const upper = i % 32 >= 20;
      EXPECT_EQ(out[static_cast<std::size_t>(i)], upper ? 114 * 10000 + 400 + 15 : -130 * 10000 - 1600 + 3);
    }
  });
}

__global__ void half_warps(int* out) {
  bool const upper = lane() >= 16;
  unsigned const mask = upper ? 0xffff0000U : 0x0000ffffU;
  int sum = lane();
  for (int d = 8; d > 0; d /= 2) sum += __shfl_down_sync(mask, sum, static_cast<unsigned>(d), 16);
  sum = __shfl_sync(mask, sum, 0, 16);
  if (upper) sum += __any_sync(mask, lane() == 20) + 2 * __all_sync(mask, lane() > 15);  // only these lanes
  out[threadIdx.x] = sum;
}

TEST(right_kernels, half_warps_on_their_own) {
  under_every_seed([&] {
    std::vector<int> out(64);
    cuda_on_cpu::launch(half_warps, {.grid = 1, .block = 64}, nullptr, "half_warps", out.data());
    for (int i = 0; i < 64; ++i) ASSERT_EQ(out[static_cast<std::size_t>(i)], i % 32 < 16 ? 120 : 379);
  });
}

__global__ void lanes_leave(int* out) {  // a last warp of 16 lanes; and whole warps leave together
  if (threadIdx.x / 32 == 1) return;
  if (lane() >= 12) return;
  out[threadIdx.x] = __popc(__ballot_sync(all_lanes, 1)) + __shfl_sync(all_lanes, lane(), 11);
}

TEST(right_kernels, collectives_do_not_wait_for_lanes_that_left) {
  under_every_seed([&] {
    std::vector<int> out(80);
    cuda_on_cpu::launch(lanes_leave, {.grid = 1, .block = 80}, nullptr, "lanes_leave", out.data());
    // How many lanes vote depends on who left before: on a GPU as well.
    for (std::size_t i = 0; i < 80; ++i) ASSERT_EQ(out[i] > 0, i / 32 != 1 && i % 32 < 12) << i;
  });
}

__global__ void last_block_sums(int const* x, int* partial, unsigned* ticket, int* out) {
  __shared__ shared_array<unsigned, 1> mine;
  if (threadIdx.x == 0) {
    int sum = 0;
    for (unsigned i = 0; i < 32; ++i) sum += x[blockIdx.x * 32 + i];
    partial[blockIdx.x] = sum;
    __threadfence();
    mine[0] = atomicAdd(ticket, 1U);
  }
  __syncthreads();
  if (mine[0] + 1 < gridDim.x || threadIdx.x > 0) return;
  int sum = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) sum += partial[b];
  *out = sum;
}

TEST(right_kernels, the_last_block_adds_up) {
  std::vector<int> x(512, 2);
  under_every_seed([&] {
    std::vector<int> partial(16, -1);
    unsigned ticket = 0;
    int out = 0;
    cuda_on_cpu::launch(last_block_sums, {.grid = 16, .block = 32}, nullptr, "last_block_sums", x.data(),
                        partial.data(), &ticket, &out);
    EXPECT_EQ(out, 1024);
  });
}

__global__ void waits_for_a_flag(int* flag, int* out) {
  if (threadIdx.x == 0) {
    atomicExch(flag, 1);
  } else {
    while (atomicAdd(flag, 0) == 0) __nanosleep(20);
  }
  out[threadIdx.x] = __syncthreads_count(threadIdx.x % 3 == 0) + 100 * __syncthreads_and(threadIdx.x < 64) +
                     1000 * __syncthreads_or(threadIdx.x == 1);
}

TEST(right_kernels, threads_that_wait_for_another) {
  under_every_seed([&] {
    std::vector<int> out(64);
    int flag = 0;
    cuda_on_cpu::launch(waits_for_a_flag, {.grid = 1, .block = 64}, nullptr, "waits_for_a_flag", &flag, out.data());
    EXPECT_THAT(out, testing::Each(1122));
  });
}

struct many_parameters {
  double numbers[100];
};
__global__ __launch_bounds__(24) void coordinates(__grid_constant__ many_parameters const p, double* out) {
  unsigned const block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  unsigned const thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[block * 24 + thread] = p.numbers[threadIdx.x + 10 * threadIdx.y + 50 * threadIdx.z];
}

TEST(right_kernels, three_dimensions) {
  many_parameters p;
  std::iota(std::begin(p.numbers), std::end(p.numbers), 0.0);
  under_every_seed([&] {
    std::vector<double> out(12 * 24);
    cuda_on_cpu::launch(coordinates, {.grid = {2, 3, 2}, .block = {4, 3, 2}}, nullptr, "coordinates", p, out.data());
    for (std::size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], i % 4 + 10 * (i % 12 / 4) + 50 * (i % 24 / 12));
  });
}

}  // namespace right_kernels_test
