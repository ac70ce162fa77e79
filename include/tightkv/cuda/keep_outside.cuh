// SPDX-License-Identifier: Apache-2.0
/// `keep_outside` on a GPU.
#pragma once

#include <tightkv/cuda/select_top_k.cuh>
#include <tightkv/ops/keep_outside.hpp>

namespace tightkv {
namespace detail {

template <class Range>
__global__ void keep_outside_kernel(per_head<Range> ranges, device_plan p) {
  int const h = static_cast<int>(blockIdx.x);
  auto const range = ranges[h];
  int* const kept = p.kept_of(h);
  write_all(kept, 0, range.begin);
  write_all(kept + range.begin, range.end, p.before[h] - range.end);
}

}  // namespace detail

template <>
struct kernel<keep_outside_fn, cuda> {
  static void run(cuda const& ex, std::span<token_range const> ranges, basic_plan<device_memory>& p) {
    auto const table = detail::table_of(ex, ranges);
    detail::launch(ex, "keep_outside", detail::keep_outside_kernel<token_range>,
                   {static_cast<unsigned>(p.heads()), 256}, table.view(), p.device());
  }
};

}  // namespace tightkv
