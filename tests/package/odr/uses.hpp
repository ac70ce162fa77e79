// SPDX-License-Identifier: Apache-2.0
/// The same uses in two translation units. A function or an object of ours that is not `inline` does not link, or has
/// two addresses.
#pragma once

#include <array>

#include <tightkv/tightkv.hpp>

struct used {
  tightkv::row_norms_fn const* op;
  decltype(&tightkv::detail::refuse) function;
  float norm;

  friend bool operator==(used const&, used const&) = default;
};

inline used uses() {
  std::array<float, 2> const keys{3, 4};
  tightkv::matrix<float> scores(1, 1);
  auto const rows = tightkv::hnd(keys.data(), {.heads = 1, .tokens = 1, .head_dim = 2});
  tightkv::row_norms(tightkv::cpu{}, rows, 1, scores.view());
  return {&tightkv::row_norms, &tightkv::detail::refuse, scores(0, 0)};
}

used in_one();
used in_two();
