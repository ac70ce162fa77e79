// SPDX-License-Identifier: Apache-2.0
/// `window_attention` on a GPU: the plain kernel's means within a stated error, the same bits at every run.
#pragma once

#include <memory_resource>
#include <vector>

#include <tightkv/cuda/attention_columns.cuh>
#include <tightkv/ops/window_attention.hpp>

namespace tightkv {
namespace detail {

struct write_mean {
  float window;
  matrix_view<float, device_memory> out;

  __device__ void operator()(int q, int t, double sum, bool finite) const {
    store(&out(q, t), finite ? static_cast<float>(sum) / window : unjudged);
  }
};

}  // namespace detail

template <>
struct kernel<window_attention_fn, cuda> {
  template <class V>
  static void run(cuda const& ex, V const& view, int window, scores_view<cuda> out) {
    std::pmr::vector<int> const observed(static_cast<std::size_t>(view.heads()), window, ex.resource());
    detail::sum_attention_columns(ex, view, {.what = "window_attention", .together = 1, .observed = observed},
                                  detail::write_mean{static_cast<float>(window), out});
  }
};

}  // namespace tightkv
