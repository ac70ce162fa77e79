// SPDX-License-Identifier: Apache-2.0
/// `gather` on a GPU.
#pragma once

#include <tightkv/cuda/compact.cuh>
#include <tightkv/ops/gather.hpp>

namespace tightkv {
namespace detail {

template <class From, class To>
__global__ void __launch_bounds__(compact_tuning::threads)
    gather_kernel(device_plan p, int first_head, __grid_constant__ From const from, __grid_constant__ To const to) {
  using team = row_pieces<typename From::value_type>;
  int const h = first_head + static_cast<int>(blockIdx.x);
  auto const source = from.head(h);
  auto const target = to.head(h);
  int const width = (from.head_dim() - 1) / team::width + 1;
  int const rows_at_once = (compact_tuning::pieces - 1) / width + 1;
  int const first = static_cast<int>(blockIdx.y) * rows_at_once;
  int const end = first + rows_at_once < p.after[h] ? first + rows_at_once : p.after[h];
  int const* const kept = p.kept_of(h);
  for (int i = static_cast<int>(threadIdx.x); i < rows_at_once * width; i += compact_tuning::threads) {
    int const j = first + i / width;
    int const element = i % width * team::width;
    if (j < end) write_piece(target[j], element, team::read(source[load(kept + j)], element));
  }
}

}  // namespace detail

template <>
struct kernel<gather_fn, cuda> {
  template <class From, class To>
  static void run(cuda const& ex, basic_plan<device_memory> const& p, From const& from, To const& to) {
    using tuning = detail::compact_tuning;
    int most = 0;
    for (int const n : p.lengths()) most = std::max(most, n);
    int const rows_at_once = (tuning::pieces - 1) / detail::pieces_of(from) + 1;
    detail::each_part(
        [&](int first, int heads, auto const& source, auto const& target) {
          detail::launch(
              ex, "gather",
              detail::gather_kernel<std::remove_cvref_t<decltype(source)>, std::remove_cvref_t<decltype(target)>>,
              {dim3(static_cast<unsigned>(heads), detail::blocks_for(most, rows_at_once)), tuning::threads}, p.device(),
              first, source, target);
        },
        from, to);
  }
};

}  // namespace tightkv
