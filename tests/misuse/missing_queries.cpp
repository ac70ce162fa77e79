// SPDX-License-Identifier: Apache-2.0
/// A view without queries given to what observes attention.
#include <tightkv/ops/window_attention.hpp>
#include <tightkv/view/layouts.hpp>

int main() {
  float keys[6] = {};
  float scores[3] = {};
  auto const rows = tightkv::hnd(keys, {1, 3, 2});
#ifdef TIGHTKV_CORRECT
  tightkv::kv_view const view(rows, rows, rows);
#else
  tightkv::kv_view const view(rows, rows);
#endif
  tightkv::window_attention(tightkv::cpu{}, view, 1, {scores, 1, 3});
}
