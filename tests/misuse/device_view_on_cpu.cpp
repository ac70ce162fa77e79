// SPDX-License-Identifier: Apache-2.0
/// Rows in device memory given to an executor that cannot reach them.
#include <tightkv/ops/row_norms.hpp>
#include <tightkv/view/layouts.hpp>

int main() {
  float keys[6] = {};
  float scores[3] = {};
#ifdef TIGHTKV_CORRECT
  auto const rows = tightkv::hnd(keys, {1, 3, 2});
#else
  auto const rows = tightkv::hnd(keys, {1, 3, 2}, tightkv::device_memory{});
#endif
  tightkv::row_norms(tightkv::cpu{}, rows, 1.0F, {scores, 1, 3});
}
