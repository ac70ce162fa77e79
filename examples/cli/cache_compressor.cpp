// SPDX-License-Identifier: Apache-2.0
#include "cache_compressor.hpp"

#include <algorithm>
#include <chrono>

#include <tightkv/methods/compress.hpp>
#include <tightkv/view/layouts.hpp>

namespace tightkv::cli {
namespace {

using queries_plane = plane<float const>;

/// The engine's cache, as the library sees one layer of it: no copy, only where things are.
template <class T>
auto view_of(engine::kv_cache<T>& cache, int layer) {
  auto const& s = cache.shape();
  kv_shape const shape{.heads = s.kv_heads, .tokens = s.capacity, .head_dim = s.head_dim};
  int const* const lengths = cache.lengths(layer).data();
  return kv_view{hnd(cache.keys(layer), shape).with_lengths(lengths),
                 hnd(cache.values(layer), shape).with_lengths(lengths)};
}

/// The last of the captured queries, as many as there are rows.
queries_plane queries_of(engine::query_capture const& captured, int layer, int rows) {
  int const used = std::min(captured.rows, rows);
  auto const row = static_cast<std::ptrdiff_t>(captured.head_dim) * static_cast<std::ptrdiff_t>(sizeof(float));
  float const* const all = captured.layers[static_cast<std::size_t>(layer)].data();
  return {all + (captured.rows - used) * captured.head_dim,
          strided{.heads = captured.heads, .tokens = used, .head_stride = captured.rows * row, .token_stride = row},
          captured.head_dim};
}

template <class M>
constexpr bool uses_attention_history = requires(typename M::state s) {
  s.history;
};

}  // namespace

int query_window(method_choice const& choice) {
  return std::visit(
      [](auto const& m) {
        using M = std::remove_cvref_t<decltype(m)>;
        if constexpr (uses_attention_history<M>) return engine::all_rows;
        if constexpr (requires { m.window; }) return m.window;
        return std::is_same_v<M, tova> ? 1 : 0;
      },
      choice.method());
}

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
  auto const view = view_of(cache, layer);
  auto const done = [&] {
    if constexpr (method_for<M, executor_type, decltype(view)>) {
      return compress(ex, method, view, state);
    } else {
      auto const newest = queries_of(queries, layer, *std::ranges::min_element(cache.lengths(layer)));
      return compress(ex, method, kv_view{view.keys, view.values, newest}, state);
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
          auto const view = view_of(cache, l);
          auto const newest = queries_of(queries, l, *std::ranges::min_element(cache.lengths(l)));
          shared.layers[static_cast<std::size_t>(l)].observe(ex, kv_view{view.keys, view.values, newest});
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
