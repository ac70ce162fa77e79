// SPDX-License-Identifier: Apache-2.0
/// Rows that may only be read, given to what moves them.
#include <tightkv/ops/compact.hpp>
#include <tightkv/view/layouts.hpp>

int main() {
  float keys[6] = {};
#ifdef TIGHTKV_CORRECT
  auto const rows = tightkv::hnd(keys, {1, 3, 2});
#else
  auto const rows = tightkv::hnd(static_cast<float const*>(keys), {1, 3, 2});
#endif
  tightkv::compact(tightkv::cpu{}, tightkv::plan::of({3}, {{0, 2}}), rows);
}
