// SPDX-License-Identifier: Apache-2.0
/// Every method, unchanged: on the device it keeps what it keeps on the CPU, also call after call, while rows arrive.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "device.hpp"

#include <tightkv/cuda.cuh>

namespace methods_test {

using namespace tests;
using tightkv::bfloat16;

constexpr int heads = 2;
constexpr int group = 2;
constexpr int head_dim = 64;
constexpr int all_tokens = 200;
constexpr int window = 16;
constexpr std::size_t row = head_dim;

/// A sequence's rows, [head][token][head_dim].
std::vector<bfloat16> sequence(int number_of_heads, unsigned seed) {
  auto const count = static_cast<std::size_t>(number_of_heads) * all_tokens * row;
  std::vector<bfloat16> values;
  for (double const x : random_numbers(count, seed)) values.push_back(element<bfloat16>(x));
  return values;
}

/// A cache that tokens arrive in, with the queries of those that came last.
struct growing_cache {
  std::vector<bfloat16> keys = std::vector<bfloat16>(heads * all_tokens * row);
  std::vector<bfloat16> values = keys;
  std::vector<bfloat16> queries{};
  int tokens = 0;
  int seen = 0;
  int observed = 0;  // queries there are

  void append(int count) {
    auto const all_keys = sequence(heads, 1);
    auto const all_values = sequence(heads, 2);
    auto const all_queries = sequence(heads * group, 3);
    auto const place = [](int h, int t) {
      return (static_cast<std::size_t>(h) * all_tokens + static_cast<std::size_t>(t)) * row;
    };
    auto const bytes = static_cast<std::size_t>(count) * row * sizeof(bfloat16);
    for (int h = 0; h < heads; ++h) {
      std::memcpy(keys.data() + place(h, tokens), all_keys.data() + place(h, seen), bytes);
      std::memcpy(values.data() + place(h, tokens), all_values.data() + place(h, seen), bytes);
    }
    if (seen == 0) keys[place(1, 40) + 7] = bfloat16(NAN);
    tokens += count;
    seen += count;
    observed = std::max(count, window);
    queries.clear();
    for (int q = 0; q < heads * group; ++q) {
      auto const* const first = all_queries.data() + place(q, seen - observed);
      queries.insert(queries.end(), first, first + static_cast<std::size_t>(observed) * row);
    }
  }

  tightkv::kv_shape shape() const {
    return {.heads = heads, .tokens = tokens, .head_dim = head_dim, .capacity = all_tokens};
  }
};

template <class Memory>
auto view_of(growing_cache const& c, bfloat16* keys, bfloat16* values, bfloat16* queries, Memory memory) {
  return tightkv::kv_view(
      tightkv::hnd(keys, c.shape(), memory), tightkv::hnd(values, c.shape(), memory),
      tightkv::hnd(queries, {.heads = heads * group, .tokens = c.observed, .head_dim = head_dim}, memory));
}

std::span<std::byte const> bytes_of(std::vector<bfloat16> const& v) { return std::as_bytes(std::span(v)); }
bfloat16* elements(device_bytes const& b) { return reinterpret_cast<bfloat16*>(b.data()); }

/// Small parameters, so that there is something to do.
template <class M>
M small() {
  M method;
  if constexpr (requires { method.lag; }) method.lag = 16;
  if constexpr (requires { method.window; }) method.window = window;
  return method;
}

template <class M>
void expect_same_kept_set() {
  M const method = small<M>();
  tightkv::cuda const ex{};
  growing_cache c;
  typename M::state state;
  tightkv::state_of<M, tightkv::cuda> device_state;
  for (int const arriving : {110, 1, 37}) {
    SCOPED_TRACE(arriving);
    c.append(arriving);
    device_bytes const keys(bytes_of(c.keys));
    device_bytes const values(bytes_of(c.values));
    device_bytes const queries(bytes_of(c.queries));
    auto const there = view_of(c, elements(keys), elements(values), elements(queries), device_memory{});
    auto const got = tightkv::compress(ex, method, there, device_state);
    auto const here = view_of(c, c.keys.data(), c.values.data(), c.queries.data(), tightkv::host_memory{});
    auto const want = tightkv::compress(plain{}, method, here, state);
    auto const plan = to_host(ex, got.plan);
    EXPECT_EQ(plan, want.plan);
    EXPECT_EQ(plan.nan_scores, want.plan.nan_scores);
    EXPECT_TRUE(keys.on_host() == std::vector(bytes_of(c.keys).begin(), bytes_of(c.keys).end()));
    EXPECT_TRUE(values.on_host() == std::vector(bytes_of(c.values).begin(), bytes_of(c.values).end()));
    c.tokens = want.plan.after(0);
  }
}

TEST(cuda_methods, keep_what_they_keep_on_the_cpu) {
  for_each_seed([](unsigned seed) {
    auto const each = [&]<class M>(M const&) {
      SCOPED_TRACE(M::info.name);
      expect_same_kept_set<M>();
      comparisons::all().add(std::string(M::info.name), "hnd", "bfloat16", head_dim, seed);
    };
    std::apply([&](auto const&... method) { (each(method), ...); }, tightkv::all_methods{});
  });
}

}  // namespace methods_test
