// SPDX-License-Identifier: Apache-2.0
/// A method at work on the engine's cache: one state per layer, called whenever rows were appended.
#pragma once

#include <variant>
#include <vector>

#include <tightkv/scorers/attention_history.hpp>

#include "compress_layer.hpp"
#include "forward.hpp"
#include "kv_cache.hpp"
#include "method_choice.hpp"

namespace tightkv::cli {

/// The attention a prompt's tokens received, per layer: computed once, and shared by the methods that use it.
struct shared_attention {
  std::vector<attention_history> layers;
  double seconds = 0;  // it took
};

/// Compresses a cache layer by layer, as an engine would after its prefill and after each step.
class cache_compressor {
 public:
  /// `expected` is how many tokens will come in all: what a fraction is of.
  cache_compressor(method_choice choice, int layers, int expected);

  /// Reduces `cache`, to which rows were just appended, where that is due. `queries` are those of the last tokens.
  template <class T>
  void reduce(executor_type const& ex, engine::kv_cache<T>& cache, engine::query_capture const& queries);

  /// The same, taking the attention sums of a prompt from `shared`, which is filled by the first method that needs it.
  template <class T>
  void reduce(executor_type const& ex, engine::kv_cache<T>& cache, engine::query_capture const& queries,
              shared_attention& shared);

  method_choice const& choice() const noexcept { return choice_; }
  double seconds() const noexcept { return seconds_; }
  /// Kept tokens of each layer and head, by their number in the sequence.
  std::vector<std::vector<std::vector<int>>> const& kept() const noexcept { return kept_; }

 private:
  template <class T, class M>
  void reduce_layer(executor_type const& ex, M const& method, typename M::state& state, engine::kv_cache<T>& cache,
                    int layer, engine::query_capture const& queries);
  void follow(plan const& p, int layer);

  /// A method and its states, one per layer.
  template <class M>
  struct at_work {
    M method;
    std::vector<typename M::state> states;
  };
  template <class Methods>
  struct any_at_work;
  template <class... M>
  struct any_at_work<std::variant<M...>> {
    using type = std::variant<at_work<M>...>;
  };

  method_choice choice_;
  any_at_work<any_method>::type work_;
  std::vector<std::vector<std::vector<int>>> kept_;
  int seen_ = 0;
  double seconds_ = 0;
};

}  // namespace tightkv::cli
