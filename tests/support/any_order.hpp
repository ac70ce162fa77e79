// SPDX-License-Identifier: Apache-2.0
/// One executor type that works in order, backwards, or on several threads: results must not depend on it.
#pragma once

#include <type_traits>

#include <tightkv/core/executor.hpp>

namespace tests {

enum class order { forwards, backwards, threads };

struct any_order {
  order how = order::forwards;

  template <class F>
  void operator()(int n, F&& f) const {
    using function = std::remove_reference_t<F>;
    run(
        n, [](void* g, int i) { (*static_cast<function*>(g))(i); }, &f);
  }

 private:
  void run(int n, void (*call)(void*, int), void* f) const;  // in `layer_definitions.hpp`
};

/// The specification: that the fast kernels give the same is for tests/cpu.
using any_cpu = tightkv::basic_plain_cpu<any_order>;

}  // namespace tests
