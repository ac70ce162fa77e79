// SPDX-License-Identifier: Apache-2.0
#include "rearranged.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include <tightkv/interop/llama_state.hpp>

#include "key_rotation.hpp"

namespace tightkv::llama {
namespace {

/// Of a state that belongs to us.
std::byte* bytes_of(llama_state::tensor const& t) { return const_cast<std::byte*>(t.bytes.data()); }

void move_head(llama_state::tensor const& from, std::byte* to, std::size_t head, std::size_t heads, order const& o) {
  auto const tokens = o.size();
  for (std::size_t t = 0; t < tokens; ++t) {
    auto const source = static_cast<std::size_t>(o[t]);
    if (from.transposed) {
      auto const element = from.bytes.size() / from.width / tokens;
      for (std::size_t c = head * from.width / heads; c < (head + 1) * from.width / heads; ++c) {
        std::memcpy(to + (c * tokens + t) * element, &from.bytes[(c * tokens + source) * element], element);
      }
    } else {
      auto const part = from.row_bytes() / heads;
      std::memcpy(to + t * from.row_bytes() + head * part, &from.bytes[source * from.row_bytes() + head * part], part);
    }
  }
}

}  // namespace

order shuffled(int tokens, unsigned seed) {
  order o(static_cast<std::size_t>(tokens));
  std::iota(o.begin(), o.end(), 0);
  std::shuffle(o.begin(), o.end(), std::mt19937(seed));
  return o;
}

std::vector<std::byte> moved(std::vector<std::byte> const& state, int heads,
                             std::function<order(int layer, int head, side)> const& order_of) {
  auto result = state;
  auto const from = llama_state::parse(state), to = llama_state::parse(result);
  auto const& layers = from.base.streams[0].layers;
  auto const count = static_cast<std::size_t>(heads);
  for (std::size_t l = 0; l < layers.size(); ++l) {
    auto const& target = to.base.streams[0].layers[l];
    for (std::size_t h = 0; h < count; ++h) {
      auto const of = [&](side s) { return order_of(static_cast<int>(l), static_cast<int>(h), s); };
      move_head(layers[l].keys, bytes_of(target.keys), h, count, of(side::keys));
      move_head(layers[l].values, bytes_of(target.values), h, count, of(side::values));
    }
  }
  return result;
}

std::vector<std::byte> turned(std::vector<std::byte> const& state, session const& engine,
                              std::vector<int> const& shifts) {
  auto result = state;
  auto const parsed = llama_state::parse(result);
  auto const& stream = parsed.base.streams[0];
  int const heads = llama_model_n_head_kv(engine.model());
  for (auto const& layer : stream.layers) {
    rows keys{.type = engine.options().keys,
              .heads = heads,
              .head_dim = static_cast<int>(layer.keys.width) / heads,
              .tokens = stream.tokens(),
              .bytes = {layer.keys.bytes.begin(), layer.keys.bytes.end()}};
    for (int const shift : shifts) key_rotation(engine, shift).apply(keys);
    std::ranges::copy(keys.bytes, bytes_of(layer.keys));
  }
  return result;
}

}  // namespace tightkv::llama
