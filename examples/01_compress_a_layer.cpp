// SPDX-License-Identifier: Apache-2.0
/// One layer's cache, somebody's own memory: LagKV keeps a quarter of each partition it judges.
#include <iostream>
#include <vector>

#include <tightkv/tightkv.hpp>

int main() {
  // What an engine already has: keys and values of 8 KV heads, 1000 tokens, [head][token][head_dim], in half precision.
  tightkv::kv_shape const shape{.heads = 8, .tokens = 1000, .head_dim = 64};
  std::vector<tightkv::half> keys(8 * 1000 * 64), values(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    keys[i] = tightkv::half(static_cast<float>(i * 37 % 101) / 50.0F - 1.0F);
    values[i] = tightkv::half(static_cast<float>(i * 53 % 97) / 48.0F - 1.0F);
  }

  // Say where it is. Nothing is copied.
  tightkv::kv_view const view{tightkv::hnd(keys.data(), shape), tightkv::hnd(values.data(), shape)};

  // Decide which tokens stay, and move their rows to the front of each head.
  tightkv::lag_kv const method{.keep = {0.25}};
  tightkv::lag_kv::state state;
  auto const done = tightkv::compress(tightkv::cpu{}, method, view, state);

  std::cout << "kept " << done.plan.after(0) << " of " << done.plan.before(0) << " tokens per head\n";
  return done.plan.after(0) == 424 ? 0 : 1;  // 16 sinks, 6 partitions of which 32 stay, and the last 128 + 88
}
