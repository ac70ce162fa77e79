// SPDX-License-Identifier: Apache-2.0
/// All layers in one call, on the caller's threads, with scratch from the caller's arena.
#include <array>
#include <cstddef>
#include <iostream>
#include <memory_resource>
#include <thread>
#include <vector>

#include <tightkv/tightkv.hpp>

int main() {
  constexpr int layers = 6, heads = 4, tokens = 400, head_dim = 80;
  std::vector<std::vector<float>> keys(layers), values(layers);
  using rows = decltype(tightkv::hnd(keys[0].data(), {}));
  std::vector<rows> key_planes, value_planes;
  for (int l = 0; l < layers; ++l) {
    auto const at = static_cast<std::size_t>(l);
    for (int i = 0; i < heads * tokens * head_dim; ++i) {
      keys[at].push_back(static_cast<float>((i * 7919 + l * 104729) % 1009) - 504.0F);
      values[at].push_back(static_cast<float>((i * 6101 + l * 15485863) % 997) - 498.0F);
    }
    tightkv::kv_shape const shape{.heads = heads, .tokens = tokens, .head_dim = head_dim};
    key_planes.push_back(tightkv::hnd(keys[at].data(), shape));
    value_planes.push_back(tightkv::hnd(values[at].data(), shape));
  }
  tightkv::kv_view const model{tightkv::batch(key_planes), tightkv::batch(value_planes)};

  std::pmr::synchronized_pool_resource arena;
  tightkv::basic_cpu const ex{[](int n, auto&& f) {  // an engine would use its own pool here
                                std::array<std::jthread, 2> workers;
                                for (int w = 0; w < 2; ++w) {
                                  workers[static_cast<std::size_t>(w)] = std::jthread([&f, n, w] {
                                    for (int i = w; i < n; i += 2) f(i);
                                  });
                                }
                              },
                              &arena};

  auto const plan = tightkv::decide(ex, tightkv::lag_kv{.keep = {0.5}, .lag = 64}, model).plan;
  bool const same = plan == tightkv::decide(tightkv::cpu{}, tightkv::lag_kv{.keep = {0.5}, .lag = 64}, model).plan;
  tightkv::compact(ex, plan, model.keys, model.values);
  std::cout << plan.heads() << " heads in " << layers << " layers: " << plan.before(0) << " -> " << plan.after(0)
            << " tokens\n";
  return same ? 0 : 1;  // threads change nothing
}
