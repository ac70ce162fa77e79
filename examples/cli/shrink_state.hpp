// SPDX-License-Identifier: Apache-2.0
/// A saved sequence through a method.
#pragma once

#include <cstddef>
#include <functional>
#include <numeric>
#include <vector>

#include <tightkv/core/plan.hpp>
#include <tightkv/interop/llama_state.hpp>
#include <tightkv/ops/token_range.hpp>

#include "method_choice.hpp"
#include "thread_pool.hpp"

namespace tightkv::cli {

/// How a row is cut into heads, and the basis of quantised ones.
struct row_reading {
  int kv_heads = 1;
  llama_state::rotation rotation = llama_state::rotation::stock;
};

/// A method on one stream.
struct layer_chooser {
  /// What the heads of a layer keep. From any thread. Throws `bad_argument` where the protected tokens do not fit into
  /// what is kept.
  std::function<plan(std::size_t layer)> plan_of;
  /// First and last tokens that are kept whatever their scores.
  protected_tokens whatever;
};

/// Throws `bad_argument` for methods that need queries. Needs stream and method to outlive it.
layer_chooser chooser_of(method_choice const& choice, llama_state::stream const& stream, row_reading const& reading);

/// The plan of a stream in the making.
class stream_plan {
 public:
  /// Decides about the first layers, one for each thread, and thereby how much all of them keep: `all` has room for it.
  stream_plan(engine::thread_pool& pool, layer_chooser const& chooser, llama_state::stream const& stream, plan& all);

  /// Decides about a layer, unless that is done. From any thread, once a layer. Throws `bad_argument` where it keeps
  /// more or less than the first one.
  void decide(std::size_t layer);
  std::ptrdiff_t nan_scores() const { return std::accumulate(nans_.begin(), nans_.end(), std::ptrdiff_t{0}); }

 private:
  void fill_in(std::size_t layer, plan const& of_layer);

  layer_chooser const* chooser_;
  std::size_t decided_;  // layers
  plan* all_;
  std::vector<std::ptrdiff_t> nans_;  // of each layer
};

}  // namespace tightkv::cli
