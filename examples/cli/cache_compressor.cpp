// SPDX-License-Identifier: Apache-2.0
#include "cache_compressor.hpp"

#include <algorithm>
#include <chrono>

#include <tightkv/methods/compress.hpp>

#include "cache_view.hpp"

namespace tightkv::cli {
namespace {

template <class M>
constexpr bool uses_attention_history = requires(typename M::state s) {
  s.history;
};

}  // namespace

cache_compressor::cache_compressor(method_choice choice, int layers, int expected)
    : choice_(std::move(choice)), kept_(static_cast<std::size_t>(layers)) {
  choice_.check_layers(layers);
  std::visit(
      [&]<class M>(M const& method) {
        at_work<M> work{method, std::vector<typename M::state>(static_cast<std::size_t>(layers))};
        for (auto& state : work.states) state.expect(expected);
        work_ = std::move(work);
      },
      choice_.method());
}

template <class T, class M>
void cache_compressor::reduce_layer(executor_type const& ex, M const& method, typename M::state& state,
                                    engine::kv_cache<T>& cache, int layer, engine::query_capture const& queries) {
  auto const done = [&] {
    using keys_and_values = decltype(engine::view_of(cache, layer));
    if constexpr (method_for<M, executor_type, keys_and_values>) {
      return compress(ex, method, engine::view_of(cache, layer), state);
    } else {
      return compress(ex, method, engine::view_of(cache, layer, queries), state);
    }
  }();
  cache.compacted(layer, done.plan.lengths());
  follow(done.plan, layer);
}

template <class T>
void cache_compressor::reduce(executor_type const& ex, engine::kv_cache<T>& cache,
                              engine::query_capture const& queries) {
  auto const start = std::chrono::steady_clock::now();
  int const layers = cache.shape().layers;
  for (int l = 0; l < layers; ++l) {
    auto& of_layer = kept_[static_cast<std::size_t>(l)];
    of_layer.resize(static_cast<std::size_t>(cache.shape().kv_heads));
    for (auto& of_head : of_layer) {
      for (int t = seen_; t < cache.next_position(); ++t) of_head.push_back(t);
    }
    if (choice_.skips(l)) continue;
    std::visit(
        [&](auto& work) { reduce_layer(ex, work.method, work.states[static_cast<std::size_t>(l)], cache, l, queries); },
        work_);
  }
  seen_ = cache.next_position();
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class T>
void cache_compressor::reduce(executor_type const& ex, engine::kv_cache<T>& cache, engine::query_capture const& queries,
                              shared_attention& shared) {
  auto const share = [&]<class M>(at_work<M>& work) {
    if constexpr (uses_attention_history<M>) {
      int const layers = cache.shape().layers;
      if (shared.layers.empty()) {
        auto const start = std::chrono::steady_clock::now();
        shared.layers.resize(static_cast<std::size_t>(layers));
        for (int l = 0; l < layers; ++l) {
          shared.layers[static_cast<std::size_t>(l)].observe(ex, engine::view_of(cache, l, queries));
        }
        shared.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      }
      for (int l = 0; l < layers; ++l) {
        work.states[static_cast<std::size_t>(l)].history = shared.layers[static_cast<std::size_t>(l)];
      }
      seconds_ += shared.seconds;  // as if it had been computed for this method alone
    }
  };
  std::visit(share, work_);
  reduce(ex, cache, queries);
}

void cache_compressor::follow(plan const& p, int layer) {
  for (int h = 0; h < p.heads(); ++h) {
    auto& tokens = kept_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(h)];
    std::size_t to = 0;
    for (int const from : p.kept(h)) tokens[to++] = tokens[static_cast<std::size_t>(from)];
    tokens.resize(to);
  }
}

template void cache_compressor::reduce(executor_type const&, engine::kv_cache<float>&, engine::query_capture const&);
template void cache_compressor::reduce(executor_type const&, engine::kv_cache<half>&, engine::query_capture const&);
template void cache_compressor::reduce(executor_type const&, engine::kv_cache<bfloat16>&, engine::query_capture const&);
template void cache_compressor::reduce(executor_type const&, engine::kv_cache<float>&, engine::query_capture const&,
                                       shared_attention&);
template void cache_compressor::reduce(executor_type const&, engine::kv_cache<half>&, engine::query_capture const&,
                                       shared_attention&);
template void cache_compressor::reduce(executor_type const&, engine::kv_cache<bfloat16>&, engine::query_capture const&,
                                       shared_attention&);

}  // namespace tightkv::cli
