// SPDX-License-Identifier: Apache-2.0
/// Scores made of rows, on the device, have the bits of those on the CPU.
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "device.hpp"

#include <tightkv/cuda/lag_scores.cuh>
#include <tightkv/cuda/mean_cosine.cuh>
#include <tightkv/cuda/row_norms.cuh>

namespace row_scores_test {

using namespace tests;

TEST(cuda_row_norms, have_the_bits_of_the_cpu) {
  expect_bits_of_the_cpu<0>(
      "row_norms", {40, 64, 80, 96, 128, 256},
      [](auto const& ex, auto const& keys, auto const&, auto out) { tightkv::row_norms(ex, keys, -1.0F, out); });
}

/// One of each kind: kernels of this size take long to compile.
using kinds_of_layout = std::tuple<layout_tag<nhd_layout>, layout_tag<transposed_layout>, layout_tag<paged_hnd_layout>,
                                   layout_tag<grouped_layout>, layout_tag<page_pointers_layout>,
                                   layout_tag<packed_layout>, layout_tag<batch_layout>>;

TEST(cuda_mean_cosine, has_the_bits_of_the_cpu) {
  expect_bits_of_the_cpu<2, kinds_of_layout>(
      "mean_cosine", {40, 64, 80, 256},
      [](auto const& ex, auto const& keys, auto const&, auto out) { tightkv::mean_cosine(ex, keys, -1.0F, out); });
}

// Sums of rows run in blocks of 128.
TEST(cuda_mean_cosine, of_a_long_head_has_the_bits_of_the_cpu) {
  extents const e{{300, 300, 300, 300}, 64};
  auto const keys = troubled_rows<tightkv::half>(e, 1);
  cache<nhd_layout> k(keys);
  tightkv::matrix<float> want(4, 300, 0.0F);
  tightkv::mean_cosine(plain{}, k.plane<tightkv::half>(), 1.0F, want.view());
  for_each_seed([&](unsigned seed) {
    tightkv::cuda const ex{};
    device_cache<nhd_layout> dk(keys);
    auto got = tightkv::make_scores(ex, 4, 300);
    tightkv::mean_cosine(ex, dk.plane<tightkv::half>(), 1.0F, got.view());
    expect_same_bits(to_host(ex, got), want);
    comparisons::all().add("mean_cosine", "nhd, long", "half", 64, seed);
  });
}

TEST(cuda_lag_scores, have_the_bits_of_the_cpu) {
  expect_bits_of_the_cpu<1, kinds_of_layout>(
      "lag_scores", {40, 80, 256}, [](auto const& ex, auto const& keys, auto const& values, auto out) {
        std::vector<int> const first(4, 3);
        tightkv::lag_scores(ex, tightkv::kv_view(keys, values), {.partitions = {first, 4}}, out);
      });
}

template <class T>
void expect_same_lag_scores(int head_dim, int lag) {
  extents const e{{320, 320, 320, 320}, head_dim};
  auto const keys = troubled_rows<T>(e, 1);
  auto const values = troubled_rows<T>(e, 2);
  cache<nhd_layout> k(keys), v(values);
  std::vector<int> const first(4, 5);
  tightkv::lag_scores_fn::parameters const p{.partitions = {first, lag}};
  tightkv::matrix<float> want(4, 320, 0.0F);
  tightkv::lag_scores(plain{}, tightkv::kv_view(k.template plane<T>(), v.template plane<T>()), p, want.view());
  tightkv::cuda const ex{};
  device_cache<nhd_layout> dk(keys), dv(values);
  auto got = tightkv::make_scores(ex, 4, 320);
  tightkv::lag_scores(ex, tightkv::kv_view(dk.template plane<T>(), dv.template plane<T>()), p, got.view());
  expect_same_bits(to_host(ex, got), want);
  comparisons::all().add("lag_scores", "nhd, long", element_names::GetName<T>(0), head_dim, 1);
}

// More rows than a tile of shared memory holds, and fewer; all channels of a thread in use, which is faster, and some.
TEST(cuda_lag_scores, of_long_partitions_have_the_bits_of_the_cpu) {
  for (int const lag : {17, 100}) {
    expect_same_lag_scores<tightkv::bfloat16>(72, lag);
    expect_same_lag_scores<tightkv::bfloat16>(128, lag);
    expect_same_lag_scores<tightkv::half>(64, lag);
    expect_same_lag_scores<float>(64, lag);
  }
}

}  // namespace row_scores_test
