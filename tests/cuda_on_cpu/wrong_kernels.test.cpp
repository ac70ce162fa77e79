// SPDX-License-Identifier: Apache-2.0
// Kernels that are wrong on purpose: the emulator must say so, under every seed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cuda_on_cpu/cuda_on_cpu.hpp>

#include <string>
#include <vector>

namespace wrong_kernels_test {

using cuda_on_cpu::dynamic_shared;
using cuda_on_cpu::shared_array;
using testing::HasSubstr;

constexpr unsigned all_lanes = 0xffffffffU;

struct case_of {
  char const* name;
  void (*kernel)(int*);
  unsigned threads;
  char const* said;  // part of the message
};
// NOLINTNEXTLINE(readability-identifier-naming): how GoogleTest finds it
void PrintTo(case_of const& c, std::ostream* out) { *out << c.name; }

// Barriers.

__global__ void missing_barrier(int* out) {
  __shared__ shared_array<int, 64> a;
  a[threadIdx.x] = static_cast<int>(threadIdx.x);
  out[threadIdx.x] = a[63 - threadIdx.x];
}

__global__ void barrier_in_divergent_code(int* out) {
  if (threadIdx.x < 40) __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void two_barriers_at_once(int* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

__global__ void some_leave_before_the_barrier(int* out) {
  if (threadIdx.x >= 48) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void missing_barrier_at_the_end_of_a_loop(int* out) {
  __shared__ shared_array<int, 64> a;
  int sum = 0;
  for (int i = 0; i < 3; ++i) {
    a[threadIdx.x] = i;
    __syncthreads();
    sum += a[63 - threadIdx.x];  // the next turn overwrites what others have yet to read
  }
  out[threadIdx.x] = sum;
}

// Races on shared memory.

__global__ void all_add_to_one_place(int* out) {
  __shared__ shared_array<int, 1> count;
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  count[0] += 1;
  __syncthreads();
  out[threadIdx.x] = count[0];
}

__global__ void all_write_one_place(int* out) {
  __shared__ shared_array<int, 1> last;
  last[0] = static_cast<int>(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = last[0];
}

__global__ void missing_syncwarp(int* out) {
  __shared__ shared_array<int, 32> a;
  a[threadIdx.x] = static_cast<int>(threadIdx.x);
  __shfl_sync(all_lanes, 0, 0);  // meets, but orders no memory
  out[threadIdx.x] = a[31 - threadIdx.x];
}

__global__ void syncwarp_of_too_few_lanes(int* out) {
  __shared__ shared_array<int, 32> a;
  a[threadIdx.x] = static_cast<int>(threadIdx.x);
  __syncwarp(threadIdx.x < 16 ? 0x0000ffffU : 0xffff0000U);
  out[threadIdx.x] = a[31 - threadIdx.x];
}

__global__ void syncwarp_between_two_warps(int* out) {
  __shared__ shared_array<int, 64> a;
  a[threadIdx.x] = static_cast<int>(threadIdx.x);
  __syncwarp();
  out[threadIdx.x] = a[63 - threadIdx.x];
}

__global__ void reads_beside_an_atomic(int* out) {
  __shared__ shared_array<int, 1> count;
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  atomicAdd(&count[0], 1);
  out[threadIdx.x] = count[0];
}

// Bad accesses.

__global__ void reads_uninitialised_shared_memory(int* out) {
  __shared__ shared_array<int, 64> a;
  if (threadIdx.x != 5) a[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = a[threadIdx.x];
}

__global__ void trusts_what_the_last_block_left(int* out) {
  __shared__ shared_array<int, 64> a;
  if (blockIdx.x == 0) a[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = a[threadIdx.x];
}

__global__ void writes_past_a_shared_array(int* out) {
  __shared__ shared_array<int, 63> a;
  a[threadIdx.x] = 1;
  out[threadIdx.x] = 1;
}

__global__ void reads_before_dynamic_shared_memory(int* out) {
  out[threadIdx.x] = dynamic_shared<int>()[static_cast<int>(threadIdx.x) - 1];
}

__global__ void misaligned_shared_vector(int* out) {
  auto const a = dynamic_shared<int>() + 1;
  a.store(int4{1, 2, 3, 4});
  out[threadIdx.x] = 1;
}

__global__ void misaligned_global_vector(int* out) {
  cuda_on_cpu::on_load(out + 1, 8);
  out[threadIdx.x] = 1;
}

__global__ void keeps_a_reference_over_a_barrier(int* out) {
  __shared__ shared_array<int, 64> a;
  a[threadIdx.x] = 1;
  auto x = a[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = x;
}

// Warps.

__global__ void divergent_shuffle(int* out) {
  int x = static_cast<int>(threadIdx.x);
  if (threadIdx.x % 32 < 20) x = __shfl_xor_sync(all_lanes, x, 1);
  __syncthreads();
  out[threadIdx.x] = x;
}

__global__ void shuffles_from_a_lane_that_left(int* out) {
  if (threadIdx.x % 32 >= 16) return;
  out[threadIdx.x] = __shfl_xor_sync(all_lanes, 1, 16);
}

__global__ void shuffles_from_a_lane_that_never_was(int* out) {  // with 48 threads
  out[threadIdx.x] = __shfl_xor_sync(all_lanes, 1, 16);
}

__global__ void mask_without_the_caller(int* out) { out[threadIdx.x] = __any_sync(0x0000ffffU, 1); }

__global__ void masks_that_differ(int* out) {
  out[threadIdx.x] = static_cast<int>(__ballot_sync(threadIdx.x % 32 == 3 ? 0x0000ffffU : all_lanes, 1));
}

__global__ void different_collectives(int* out) {
  if (threadIdx.x % 32 == 7) {
    out[threadIdx.x] = __any_sync(all_lanes, 1);
  } else {
    out[threadIdx.x] = __shfl_sync(all_lanes, 1, 0);
  }
}

__global__ void different_reductions(int* out) {
  out[threadIdx.x] = threadIdx.x % 32 == 7 ? __reduce_min_sync(all_lanes, 1) : __reduce_max_sync(all_lanes, 1);
}

__global__ void reduction_without_the_caller(int* out) { out[threadIdx.x] = __reduce_add_sync(0x0000ffffU, 1); }

__global__ void shuffles_from_outside_the_mask(int* out) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffU, 1, 20);
}

__global__ void shuffles_by_an_odd_width(int* out) { out[threadIdx.x] = __shfl_sync(all_lanes, 1, 0, 12); }

class wrong_kernels : public testing::TestWithParam<case_of> {};

TEST_P(wrong_kernels, are_reported_under_every_seed) {
  auto const& c = GetParam();
  std::vector<int> out(64);
  for (unsigned seed = 0; seed < 20; ++seed) {
    cuda_on_cpu::settings().seed = seed;
    SCOPED_TRACE(seed);
    try {
      cuda_on_cpu::launch(c.kernel, {.grid = 2, .block = c.threads, .shared_bytes = 256}, nullptr, c.name, out.data());
      FAIL() << "nothing was said";
    } catch (cuda_on_cpu::kernel_error const& e) {
      EXPECT_THAT(e.what(), testing::MatchesRegex(std::string(c.name) + ": block .* thread .*" + c.said + ".*"));
    }
  }
  cuda_on_cpu::settings().seed = 1;
}

auto const races = "(wrote since|read since|nobody wrote)";
INSTANTIATE_TEST_SUITE_P(
    , wrong_kernels,
    testing::Values(
        case_of{"missing_barrier", missing_barrier, 64, "(another thread wrote since|nobody wrote|read since)"},
        case_of{"barrier_in_divergent_code", barrier_in_divergent_code, 64, "24 threads that never come"},
        case_of{"two_barriers_at_once", two_barriers_at_once, 64, "two different barriers"},
        case_of{"some_leave_before_the_barrier", some_leave_before_the_barrier, 64, "16 of which have left"},
        case_of{"missing_barrier_at_the_end_of_a_loop", missing_barrier_at_the_end_of_a_loop, 64,
                "since the last barrier"},
        case_of{"all_add_to_one_place", all_add_to_one_place, 64, "since the last barrier"},
        case_of{"all_write_one_place", all_write_one_place, 64, "writes shared memory that another thread wrote"},
        case_of{"missing_syncwarp", missing_syncwarp, 32, "another thread wrote since"},
        case_of{"syncwarp_of_too_few_lanes", syncwarp_of_too_few_lanes, 32, races},
        case_of{"syncwarp_between_two_warps", syncwarp_between_two_warps, 64, races},
        case_of{"reads_beside_an_atomic", reads_beside_an_atomic, 64, "since the last barrier"},
        case_of{"reads_uninitialised_shared_memory", reads_uninitialised_shared_memory, 64, "nobody wrote: byte 20"},
        case_of{"trusts_what_the_last_block_left", trusts_what_the_last_block_left, 64, "nobody wrote"},
        case_of{"writes_past_a_shared_array", writes_past_a_shared_array, 64, "out of bounds: byte 252 of 252"},
        case_of{"reads_before_dynamic_shared_memory", reads_before_dynamic_shared_memory, 1, "out of bounds: byte -4"},
        case_of{"misaligned_shared_vector", misaligned_shared_vector, 1, "not aligned"},
        case_of{"misaligned_global_vector", misaligned_global_vector, 1, "not aligned"},
        case_of{"keeps_a_reference_over_a_barrier", keeps_a_reference_over_a_barrier, 64, "older than a barrier"},
        case_of{"divergent_shuffle", divergent_shuffle, 64, "for lane 20, which waits at the barrier"},
        case_of{"shuffles_from_a_lane_that_left", shuffles_from_a_lane_that_left, 64, "has left the kernel"},
        case_of{"shuffles_from_a_lane_that_never_was", shuffles_from_a_lane_that_never_was, 48, "has left the kernel"},
        case_of{"mask_without_the_caller", mask_without_the_caller, 64, "lacks the calling lane"},
        case_of{"masks_that_differ", masks_that_differ, 64, "do not agree"},
        case_of{"different_collectives", different_collectives, 64, "do not agree"},
        case_of{"different_reductions", different_reductions, 64, "do not agree"},
        case_of{"reduction_without_the_caller", reduction_without_the_caller, 64, "lacks the calling lane"},
        case_of{"shuffles_from_outside_the_mask", shuffles_from_outside_the_mask, 64, "does not name"},
        case_of{"shuffles_by_an_odd_width", shuffles_by_an_odd_width, 64, "power of two"}),
    [](auto const& i) { return std::string(i.param.name); });

// What is not watched shows as a wrong answer under some seed.

__global__ void unwatched_missing_barrier(int* out) {
  __shared__ int a[64];
  a[threadIdx.x] = static_cast<int>(threadIdx.x) + static_cast<int>(blockIdx.x);
  out[blockIdx.x * 64 + threadIdx.x] = a[63 - threadIdx.x];
}

TEST(unwatched_kernels, a_missing_barrier_gives_wrong_answers) {
  int wrong = 0;
  for (unsigned seed = 0; seed < 10; ++seed) {
    cuda_on_cpu::settings().seed = seed;
    std::vector<int> out(128);
    cuda_on_cpu::launch(unwatched_missing_barrier, {.grid = 2, .block = 64}, nullptr, "unwatched", out.data());
    for (int i = 0; i < 128; ++i) wrong += out[static_cast<std::size_t>(i)] != 63 - i % 64 + i / 64;
  }
  cuda_on_cpu::settings().seed = 1;
  EXPECT_GT(wrong, 100);
}

// Global memory.

__global__ void writes_past_the_end(int* out, int n) {
  if (static_cast<int>(threadIdx.x) > n) return;  // one thread too many
  cuda_on_cpu::on_store(out + threadIdx.x, sizeof(int));
  out[threadIdx.x] = 1;
}

__global__ void writes_past_the_end_unannounced(int* out, int n) {
  if (static_cast<int>(threadIdx.x) <= n) out[threadIdx.x] = 1;
}

TEST(global_memory, writes_out_of_bounds_are_reported) {
#if defined(CUDA_ON_CPU_ASAN)
  int* p = nullptr;
  ASSERT_EQ(cudaMalloc(&p, 50 * sizeof(int)), cudaSuccess);
  try {
    cuda_on_cpu::launch(writes_past_the_end, {.grid = 1, .block = 64}, nullptr, "writes", p, 50);
    FAIL() << "nothing was said";
  } catch (cuda_on_cpu::kernel_error const& e) {
    EXPECT_THAT(e.what(), HasSubstr("thread (50, 0, 0): stores 4 bytes"));
    EXPECT_THAT(e.what(), HasSubstr("outside of any allocation"));
  }
  EXPECT_DEATH(cuda_on_cpu::launch(writes_past_the_end_unannounced, {.grid = 1, .block = 64}, nullptr, "writes", p, 50),
               "heap-buffer-overflow");
  cudaFree(p);
#else
  GTEST_SKIP() << "needs AddressSanitizer";
#endif
}

__global__ void throws(int*) { throw std::runtime_error("from a kernel"); }

TEST(kernels, may_throw) {
  EXPECT_THROW(cuda_on_cpu::launch(throws, {.grid = 1, .block = 64}, nullptr, "throws", nullptr), std::runtime_error);
}

TEST(launches, refuse_shapes_that_no_gpu_has) {
  auto const error_of = [](cuda_on_cpu::launch_shape const& shape) {
    return cuda_on_cpu::launch(throws, shape, nullptr, "never runs", nullptr);
  };
  EXPECT_EQ(error_of({.grid = 0, .block = 32}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(error_of({.grid = 1, .block = 0}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(error_of({.grid = 1, .block = 1025}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(error_of({.grid = {1, 65536}, .block = 32}), cudaErrorInvalidConfiguration);
  EXPECT_EQ(error_of({.grid = 1, .block = 32, .shared_bytes = (48 << 10) + 1}), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

}  // namespace wrong_kernels_test
