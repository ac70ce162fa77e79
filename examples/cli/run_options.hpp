// SPDX-License-Identifier: Apache-2.0
/// What `tightkv run` was asked, and what it answers.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "compress_layer.hpp"
#include "kv_cache.hpp"
#include "language_model.hpp"
#include "method_choice.hpp"

namespace tightkv::cli {

struct run_options {
  std::string model;
  std::string context;
  std::string continuation;
  std::string stream;
  int score_last = 0;  // 0: all but the first
  int generate = 0;    // 0: score a continuation
  int chunk = 1;
  std::vector<method_choice> methods;
  std::string kv_type = "f16";
  bool indices = false;
  int threads = 1;
  bool json = false;
};

/// Shows how far a long task has come, where somebody is watching.
using progress = std::function<void(std::string const& what, int done, int of)>;

/// Prefills the context, compresses a copy of the cache per method, and scores or generates what follows. T is the
/// cache's element type.
template <class T>
nlohmann::ordered_json run_context(run_options const& asked, language_model& model, executor_type const& ex,
                                   progress const& show);

/// Scores a text as it flows through caches that the methods hold small.
template <class T>
nlohmann::ordered_json run_stream(run_options const& asked, language_model& model, executor_type const& ex,
                                  progress const& show);

/// A number that JSON can hold: null if it is not finite.
inline nlohmann::ordered_json finite(double x) {
  return std::isfinite(x) ? nlohmann::ordered_json(x) : nlohmann::ordered_json();
}

/// Rows per head: a number, or a list per layer where layers differ.
template <class T>
nlohmann::ordered_json rows_of(engine::kv_cache<T> const& cache) {
  std::vector<int> per_layer;
  for (int l = 0; l < cache.shape().layers; ++l) per_layer.push_back(std::ranges::max(cache.lengths(l)));
  bool const equal = std::ranges::all_of(per_layer, [&](int rows) { return rows == per_layer.front(); });
  if (equal) return per_layer.front();
  return per_layer;
}

/// A cache for this model with room for so many tokens.
template <class T>
engine::kv_cache<T> make_cache(language_model const& model, int capacity) {
  auto const& s = model.weights.shape();
  return engine::kv_cache<T>{
      {.layers = s.layers, .kv_heads = s.kv_heads, .capacity = capacity, .head_dim = s.head_dim}};
}

}  // namespace tightkv::cli
