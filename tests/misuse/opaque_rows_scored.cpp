// SPDX-License-Identifier: Apache-2.0
/// Rows that can be moved but not read, given to what reads them.
#include <tightkv/ops/mean_cosine.hpp>
#include <tightkv/view/layouts.hpp>

int main() {
  float scores[3] = {};
#ifdef TIGHTKV_CORRECT
  float keys[6] = {};
#else
  std::byte keys[6] = {};
#endif
  tightkv::mean_cosine(tightkv::cpu{}, tightkv::hnd(keys, {1, 3, 2}), 1.0F, {scores, 1, 3});
}
