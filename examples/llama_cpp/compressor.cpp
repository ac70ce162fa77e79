// SPDX-License-Identifier: Apache-2.0
#include "compressor.hpp"

#include <vector>

#include <tightkv/methods/compress.hpp>
#include <tightkv/view/batch.hpp>

namespace tightkv::llama {
namespace {

using query_plane = decltype(std::declval<engine_tap const&>().queries(0));

std::vector<query_plane> queries_of(engine_tap const& tap, llama_state::stream const& stream) {
  detail::expects(tap.layers_seen() == static_cast<int>(stream.layers.size()), "llama",
                  "queries of every layer are needed; this architecture may name them otherwise", "seen",
                  tap.layers_seen(), "layers", stream.layers.size());
  std::vector<query_plane> layers;
  for (int l = 0; l < tap.layers_seen(); ++l) layers.push_back(tap.queries(l));
  return layers;
}

/// Calls `f(keys, values)` with the rows as planes: halves where they are halves, else decoded one by one.
template <class F>
auto with_rows(llama_state::stream const& stream, int kv_heads, F&& f) {
  auto const keys = llama_state::planes_of<half>(stream, &llama_state::layer::keys, kv_heads);
  auto const values = llama_state::planes_of<half>(stream, &llama_state::layer::values, kv_heads);
  if (!keys.empty() && !values.empty()) return f(batch(keys), batch(values));
  return f(llama_state::keys_of(stream, kv_heads), llama_state::values_of(stream, kv_heads));
}

}  // namespace

compressor::compressor(cli::method_choice const& choice, int kv_heads) : choice_(choice), kv_heads_(kv_heads) {
  detail::expects(!choice.skips_any(), "skip_layers", "cannot be used: llama.cpp has one length for all layers");
  std::visit([&]<class M>(M const& method) { work_ = at_work<M>{method, {}}; }, choice.method());
}

void compressor::take(attention_history const& so_far) {
  std::visit(
      [&](auto& work) {
        if constexpr (requires { work.state.history; }) work.state.history = so_far;
      },
      work_);
}

void observe(executor_type const& ex, attention_history& history, llama_state::stream const& stream, int kv_heads,
             engine_tap const& tap) {
  auto const queries = queries_of(tap, stream);
  with_rows(stream, kv_heads,
            [&](auto const& keys, auto const&) { history.observe(ex, kv_view(keys, absent{}, batch(queries))); });
}

plan compressor::decide(executor_type const& ex, llama_state::stream const& stream, engine_tap const& tap) {
  return std::visit(
      [&](auto& work) {
        return with_rows(stream, kv_heads_, [&](auto const& keys, auto const& values) {
          if constexpr (method_for<decltype(work.method), executor_type, decltype(kv_view(keys, values))>) {
            return work.method.decide(ex, kv_view(keys, values), work.state).plan;
          } else {
            auto const queries = queries_of(tap, stream);
            return work.method.decide(ex, kv_view(keys, values, batch(queries)), work.state).plan;
          }
        });
      },
      work_);
}

void compressor::carried_out(executor_type const& ex, plan const& done) {
  std::visit([&](auto& work) { work.state.apply(ex, done); }, work_);
}

}  // namespace tightkv::llama
