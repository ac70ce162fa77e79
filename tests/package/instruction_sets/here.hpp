// SPDX-License-Identifier: Apache-2.0
/// The results of the translation unit that includes this.
#pragma once

#include "results.hpp"

#include <vector>

#include <tightkv/methods/compress.hpp>
#include <tightkv/methods/lag_kv.hpp>
#include <tightkv/ops/window_attention.hpp>
#include <tightkv/view/layouts.hpp>

namespace {

constexpr int heads = 2;
constexpr int tokens = 150;
constexpr int dim = 80;
constexpr int window = 20;

std::vector<float> numbers(unsigned seed, int rows) {
  std::vector<float> all(static_cast<std::size_t>(rows * dim));
  for (float& x : all) {
    seed = seed * 1664525U + 1013904223U;
    x = static_cast<float>(seed >> 8U) * 0x1p-23F - 1.0F;
  }
  return all;
}

results results_here() {
  using namespace tightkv;
  results r;
  cpu const ex;
  r.best = ex.instructions();
  for (auto const set : {instruction_set::x86_64_v3, instruction_set::x86_64_v4}) {
    if (runs(set)) r.run.push_back(set);
  }
  auto keys = numbers(1, heads * tokens);
  auto values = numbers(2, heads * tokens);
  auto const queries = numbers(3, heads * window);
  kv_shape const shape{.heads = heads, .tokens = tokens, .head_dim = dim};
  kv_view const view(hnd(keys.data(), shape), hnd(values.data(), shape),
                     hnd(queries.data(), {.heads = heads, .tokens = window, .head_dim = dim}));

  matrix<float> attended(heads, tokens);
  window_attention(ex, view, window, attended.view());
  r.attention.assign(attended.row(1).begin(), attended.row(1).end());

  lag_kv::state state;
  auto const done = compress(ex, lag_kv{.keep = {0.25}, .lag = 32}, view, state);
  r.exact.assign(done.scores.row(0).begin(), done.scores.row(0).end());
  r.exact.insert(r.exact.end(), keys.begin(), keys.end());
  r.exact.insert(r.exact.end(), values.begin(), values.end());
  r.kept.assign(done.plan.kept(1).begin(), done.plan.kept(1).end());
  return r;
}

}  // namespace
