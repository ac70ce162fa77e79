// SPDX-License-Identifier: Apache-2.0
/// A scorer of your own, written against the library's ops: it works on every layout and element type at once.
#include <iostream>
#include <vector>

#include <tightkv/tightkv.hpp>

/// Keeps tokens whose *values* are long: what they add to the output weighs more.
struct value_norm {
  template <tightkv::executor E, tightkv::view_with_values V>
  requires tightkv::reachable_from<V, E>
  void score(E const& ex, V const& view, tightkv::scores_view<E> out) const {
    tightkv::row_norms(ex, view.values, 1.0F, out);
  }
};
static_assert(tightkv::scorer<value_norm>);

int main() {
  std::vector<float> const keys(2 * 5 * 2, 1.0F);
  std::vector<float> const values{3, 4, 0, 1, 6, 8, 1, 1, 0, 2,   // head 0: lengths 5, 1, 10, 1.4, 2
                                  1, 0, 2, 0, 3, 0, 4, 0, 5, 0};  // head 1: lengths 1, 2, 3, 4, 5
  tightkv::kv_shape const shape{.heads = 2, .tokens = 5, .head_dim = 2};
  tightkv::kv_view const view{tightkv::hnd(keys.data(), shape), tightkv::hnd(values.data(), shape)};
  tightkv::cpu const ex;

  // Alone, or fused with another: a token is then worth the better of its two ranks.
  tightkv::candidates from(ex.resource());
  for (int h = 0; h < 2; ++h) from.add(view.tokens(h), {.recent = 1}, 3);
  auto const alone = tightkv::keep_best(ex, view, value_norm{}, from).plan;
  auto const fused =
      tightkv::keep_best(ex, view, tightkv::best_rank{value_norm{}, tightkv::key_norm{}, {.recent = 1}}, from).plan;

  std::cout << alone << "fused with the key norm:\n" << fused;
  return alone == tightkv::plan::of({5, 5}, {{0, 2, 4}, {2, 3, 4}}) ? 0 : 1;
}
