// SPDX-License-Identifier: Apache-2.0
/// A view of keys on the device with queries on the host.
#include <tightkv/view/kv_view.hpp>
#include <tightkv/view/layouts.hpp>

int main() {
  float keys[6] = {};
  auto const rows = tightkv::hnd(keys, {1, 3, 2}, tightkv::device_memory{});
#ifdef TIGHTKV_CORRECT
  auto const queries = tightkv::hnd(keys, {1, 3, 2}, tightkv::device_memory{});
#else
  auto const queries = tightkv::hnd(keys, {1, 3, 2});
#endif
  tightkv::kv_view const view{rows, rows, queries};
  return view.heads() - 1;
}
