// SPDX-License-Identifier: Apache-2.0
/// Scores in device memory given to an executor that cannot reach them.
#include <tightkv/selectors/top_k.hpp>

int main() {
  float scores[3] = {};
  tightkv::candidates from(tightkv::cpu{}.resource());
  from.add(3, {}, 2);
#ifdef TIGHTKV_CORRECT
  tightkv::matrix_view<float const, tightkv::host_memory> const view{scores, 1, 3};
#else
  tightkv::matrix_view<float const, tightkv::device_memory> const view{scores, 1, 3};
#endif
  return tightkv::top_k{}.select(tightkv::cpu{}, view, from).after(0) - 2;
}
