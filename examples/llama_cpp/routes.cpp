// SPDX-License-Identifier: Apache-2.0
#include "routes.hpp"

#include <numeric>

#include <tightkv/ops/compact.hpp>

#include "key_rotation.hpp"
#include "stopwatch.hpp"

namespace tightkv::llama {
namespace {

/// The cache by layers, and the same as a view that methods can look at.
struct whole_cache {
  std::vector<layer_rows> layers;
  llama_state::stream stream;

  explicit whole_cache(cache_in_place& cache) {
    for (int l = 0; l < cache.layers(); ++l) layers.push_back(cache.read(l));
    for (auto const& l : layers) stream.layers.push_back({l.keys.as_tensor(), l.values.as_tensor()});
    stream.order.resize(static_cast<std::size_t>(cache.tokens()));
    std::iota(stream.order.begin(), stream.order.end(), 0);
  }
};

/// Head by head of one layer.
plan of_layer(plan const& all, int layer, int heads) {
  std::vector<int> before, after;
  for (int h = 0; h < heads; ++h) {
    before.push_back(all.before(layer * heads + h));
    after.push_back(all.after(layer * heads + h));
  }
  plan p(before, after);
  for (int h = 0; h < heads; ++h) std::ranges::copy(all.kept(layer * heads + h), p.kept(h).begin());
  return p;
}

void by_buffer(executor_type const& ex, llama_state::contents const& state, plan const& p, session& engine) {
  llama_state::smaller const after{state, {&p, 1}};
  std::vector<std::byte> bytes(after.size());
  after.write(ex, bytes);
  engine.restore(bytes, engine.next_position());
}

/// Rows of the plan moved to the front of each layer.
void compact_layers(executor_type const& ex, whole_cache& whole, plan const& p) {
  auto const layers = static_cast<int>(whole.layers.size());
  for (int l = 0; l < layers; ++l) {
    auto& [keys, values] = whole.layers[static_cast<std::size_t>(l)];
    compact(ex, of_layer(p, l, keys.heads), keys.as_bytes(), values.as_bytes());
    keys.tokens = values.tokens = p.after(0);
  }
}

void into_high_cells(executor_type const& ex, whole_cache& whole, plan const& p, session& engine,
                     cache_in_place& cache) {
  int const removed = p.before(0) - p.after(0);
  compact_layers(ex, whole, p);
  for (int l = 0; l < cache.layers(); ++l) cache.write(l, whole.layers[static_cast<std::size_t>(l)], removed);
  llama_memory_seq_rm(engine.memory(), 0, 0, engine.next_position() - p.after(0));
  cache.keep(removed, p.after(0));
}

void into_low_cells(executor_type const& ex, whole_cache& whole, plan const& p, session& engine,
                    cache_in_place& cache) {
  int const removed = p.before(0) - p.after(0);
  compact_layers(ex, whole, p);
  key_rotation const back(engine, -removed);
  for (int l = 0; l < cache.layers(); ++l) {
    back.apply(whole.layers[static_cast<std::size_t>(l)].keys);
    cache.write(l, whole.layers[static_cast<std::size_t>(l)], 0);
  }
  llama_memory_seq_rm(engine.memory(), 0, engine.next_position() - removed, -1);
  llama_memory_seq_add(engine.memory(), 0, 0, -1, removed);
  cache.keep(0, p.after(0));
}

llama_state::stream const& stream_of(llama_state::contents const& state) {
  detail::expects(state.base.streams.size() == 1, "llama", "needs a context of one sequence", "streams",
                  state.base.streams.size());
  return state.base.streams[0];
}

/// One table of cells serves all heads of all layers.
void check_equal(plan const& p) {
  for (int h = 1; h < p.heads(); ++h) {
    detail::expects(p.after(h) == p.after(0), "llama", "all heads of all layers must keep the same number of tokens",
                    "kept", p.after(h), "first", p.after(0));
  }
}

template <class Decide>
plan carry_out_decided(executor_type const& ex, route r, Decide const& decide, session& engine, cache_in_place& cache) {
  auto const why = refusal(r, engine);
  if (!why.empty()) detail::refuse("llama", why);
  if (r == route::buffer) {
    auto const saved = engine.saved();
    auto const state = llama_state::parse(saved);
    plan p = decide(stream_of(state));
    check_equal(p);
    if (p.evicts()) {
      by_buffer(ex, state, p, engine);
      cache.restored(p.after(0));
    }
    return p;
  }
  whole_cache whole(cache);
  plan p = decide(whole.stream);
  check_equal(p);
  if (!p.evicts()) return p;
  if (r == route::high_cells) into_high_cells(ex, whole, p, engine, cache);
  if (r == route::low_cells) into_low_cells(ex, whole, p, engine, cache);
  return p;
}

}  // namespace

route route_named(std::string const& name) {
  if (name == "a") return route::buffer;
  if (name == "b") return route::high_cells;
  if (name == "c") return route::low_cells;
  detail::refuse("--route", "must be a, b or c", {{"route", name}});
}

std::string refusal(route r, session const& engine) {
  auto const* const model = engine.model();
  if (llama_model_is_recurrent(model) || llama_model_is_hybrid(model)) return "the model has a recurrent memory";
  // Kept rows get other positions, which is right only where positions decide what is seen, and nothing else.
  if (llama_model_rope_type(model) == LLAMA_ROPE_TYPE_NONE) return "the model has no RoPE: its mask may know distances";
  if (engine.has_metadata("attention.chunk_size")) return "the model attends to chunks of positions";
  if (r == route::buffer) return {};  // the state itself says the rest
  if (llama_model_n_swa(model) > 0) return "the model has layers with a sliding window: take route a";
  if (r == route::high_cells) return {};
  auto const keys = engine.options().keys;
  if (ggml_is_quantized(keys)) return "keys are quantised, and cannot be turned by RoPE: take route a";
  bool const shifts = keys == GGML_TYPE_F32 || keys == GGML_TYPE_F16;
  if (!shifts) return "llama.cpp's K-shift knows f32 and f16 alone: take route a";
  if (!llama_memory_can_shift(engine.memory())) return "llama.cpp cannot shift this cache";
  if (!key_rotation::knows(engine)) return "the model's RoPE is scaled, or of another kind: take route a";
  return {};
}

compression compress(executor_type const& ex, route r, compressor& method, session& engine, cache_in_place& cache) {
  stopwatch const clock;
  auto done = carry_out_decided(
      ex, r, [&](llama_state::stream const& stream) { return method.decide(ex, stream, engine.tap()); }, engine, cache);
  method.carried_out(ex, done);
  return {std::move(done), clock.milliseconds()};
}

void carry_out(executor_type const& ex, route r, plan const& p, session& engine, cache_in_place& cache) {
  carry_out_decided(
      ex, r, [&](llama_state::stream const&) { return p; }, engine, cache);
}

}  // namespace tightkv::llama
