// SPDX-License-Identifier: Apache-2.0
/// A paged cache as vLLM and FlashInfer have it: compress in place, and give pages back.
#include <cstdint>
#include <iostream>
#include <vector>

#include <tightkv/tightkv.hpp>

int main() {
  constexpr int heads = 4, tokens = 300, head_dim = 128, page_size = 16, pool_pages = 64;
  std::vector<tightkv::bfloat16> key_pool(pool_pages * page_size * heads * head_dim), value_pool(key_pool.size());
  for (std::size_t i = 0; i < key_pool.size(); ++i) {
    key_pool[i] = tightkv::bfloat16(static_cast<float>(i * 31 % 103) - 51.0F);
  }

  // The sequence's row of the engine's block table: 19 pages, scattered over the pool.
  std::vector<std::int32_t> table;
  for (int i = 0; i < 19; ++i) table.push_back((i * 23 + 5) % pool_pages);

  tightkv::kv_shape const shape{.heads = heads, .tokens = tokens, .head_dim = head_dim};
  tightkv::block_table<std::int32_t> const pages{.entries = table.data(), .pages = pool_pages, .page_size = page_size};
  tightkv::kv_view const view{tightkv::paged_nhd(key_pool.data(), shape, pages),
                              tightkv::paged_nhd(value_pool.data(), shape, pages)};

  tightkv::key_diff const method{.budget = tightkv::keep_tokens{100}, .sink = 4, .recent = 16};
  tightkv::key_diff::state state;
  auto const done = tightkv::compress(tightkv::cpu{}, method, view, state);

  auto const free = tightkv::freed_pages(done.plan, {.page_size = page_size, .heads = {0, heads}});
  std::cout << done.plan.after(0) << " tokens stay in " << free.begin << " pages; free again:";
  for (int i = free.begin; i < free.end; ++i) std::cout << ' ' << table[static_cast<std::size_t>(i)];
  std::cout << '\n';
  return free.begin == 7 && free.end == 19 ? 0 : 1;
}
