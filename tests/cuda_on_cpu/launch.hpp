// SPDX-License-Identifier: Apache-2.0
/// Launches: every block of the grid, one after the other.
#pragma once

#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include <cuda_on_cpu/block.hpp>
#include <cuda_on_cpu/runtime.hpp>

namespace cuda_on_cpu {

namespace detail {

inline cudaError_t check(launch_shape const& s) {
  auto const threads = std::size_t{s.block.x} * s.block.y * s.block.z;
  auto const blocks = std::size_t{s.grid.x} * s.grid.y * s.grid.z;
  bool const fits = threads >= 1 && threads <= block::most_threads && s.block.z <= 64 && blocks >= 1 &&
                    s.grid.x <= 0x7fffffffU && s.grid.y <= 0xffffU && s.grid.z <= 0xffffU;
  return fits ? cudaSuccess : cudaErrorInvalidConfiguration;
}

inline void run_grid(char const* what, launch_shape const& shape, void (*body)(void const*), void const* argument) {
  auto const blocks = std::size_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  std::vector<std::size_t> order(blocks);
  std::iota(order.begin(), order.end(), std::size_t{0});
  random_order shuffle(settings().seed);
  for (std::size_t i = blocks; i > 1 && shuffle.shuffled(); --i) std::swap(order[i - 1], order[shuffle.below(i)]);
  traffic().begin_launch(what);
  for (auto const b : order) {
    uint3 const index{static_cast<unsigned>(b % shape.grid.x), static_cast<unsigned>(b / shape.grid.x % shape.grid.y),
                      static_cast<unsigned>(b / shape.grid.x / shape.grid.y)};
    block::current().run(what, shape, index, random_order(settings().seed == 0 ? 0 : settings().seed + b), body,
                         argument);
  }
}

}  // namespace detail

/// Runs `kernel(args...)`. A shape that no GPU takes is returned as an error; what threads do wrong is thrown as
/// `kernel_error`. While `stream` is being captured, the launch is recorded instead.
template <class... Parameters, class... Args>
cudaError_t launch(void (*kernel)(Parameters...), launch_shape const& shape, cudaStream_t stream, char const* what,
                   Args&&... args) {
  static_assert((0 + ... + sizeof(Parameters)) <= 32764,
                "a kernel's parameters fill at most 32764 bytes");  // from CUDA 12.1 on
  struct call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
  };
  if (auto const error = remember_error(detail::check(shape)); error != cudaSuccess) return error;
  if (auto const error = remember_error(check_shared(reinterpret_cast<void const*>(kernel), shape.shared_bytes));
      error != cudaSuccess) {
    return error;
  }
  return enqueue(stream, [=, c = call{kernel, {std::forward<Args>(args)...}}] {
    detail::run_grid(
        what, shape,
        [](void const* p) {
          auto const& it = *static_cast<call const*>(p);
          std::apply(it.kernel, it.arguments);
        },
        &c);
  });
}

}  // namespace cuda_on_cpu
