// SPDX-License-Identifier: Apache-2.0
/// An operation given to an executor that nobody wrote a kernel for.
#include <tightkv/core/executor.hpp>
#include <tightkv/core/kernel.hpp>

namespace {

struct some_op {};
struct some_executor {};

}  // namespace

template <>
struct tightkv::kernel<some_op, tightkv::cpu> {
  static int run() { return 0; }
};

int main() {
#ifdef TIGHTKV_CORRECT
  return tightkv::kernel<some_op, tightkv::cpu>::run();
#else
  return tightkv::kernel<some_op, some_executor>::run();
#endif
}
