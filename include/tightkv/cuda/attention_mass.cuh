// SPDX-License-Identifier: Apache-2.0
/// `attention_mass` on a GPU: the plain kernel's sums within a stated error, the same bits at every run.
#pragma once

#include <tightkv/cuda/attention_columns.cuh>
#include <tightkv/ops/attention_mass.hpp>

namespace tightkv {
namespace detail {

struct add_mass {
  matrix_view<float, device_memory> out;

  __device__ void operator()(int h, int t, double sum, bool finite) const {
    float const now = static_cast<float>(static_cast<double>(load(&out(h, t))) + sum);
    store(&out(h, t), finite ? now : unjudged);
  }
};

}  // namespace detail

template <>
struct kernel<attention_mass_fn, cuda> {
  template <class V>
  static void run(cuda const& ex, V const& view, std::span<int const> queries, scores_view<cuda> out) {
    detail::sum_attention_columns(
        ex, view, {.what = "attention_mass", .together = group_size(view), .observed = queries}, detail::add_mass{out});
  }
};

}  // namespace tightkv
