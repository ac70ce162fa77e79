// SPDX-License-Identifier: Apache-2.0
/// H2O while decoding: after every token the cache is brought back to its budget, and the accumulated scores and the
/// engine's positions travel with the rows.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <vector>

#include <tightkv/tightkv.hpp>

int main() {
  constexpr int kv_heads = 2, query_heads = 6, head_dim = 64, budget = 32;
  constexpr int capacity = budget + 1;  // one new row at a time
  std::vector<float> keys(kv_heads * capacity * head_dim), values(keys.size()), queries(query_heads * head_dim);
  std::vector<std::int32_t> positions(kv_heads * capacity);

  tightkv::h2o const method{.budget = tightkv::keep_tokens{budget}};
  tightkv::h2o::state state;  // one per layer and sequence, kept by the engine
  int rows = 0;
  for (int position = 0; position < 200; ++position) {
    for (int h = 0; h < kv_heads; ++h) {  // what the engine does: append the new token's row to each head
      for (int d = 0; d < head_dim; ++d) {
        auto const at = static_cast<std::size_t>((h * capacity + rows) * head_dim + d);
        keys[at] = std::sin(static_cast<float>(position * (d + 1) + h));
        values[at] = std::cos(static_cast<float>(position + d));
      }
      positions[static_cast<std::size_t>(h * capacity + rows)] = position;
    }
    for (std::size_t i = 0; i < queries.size(); ++i)
      queries[i] = std::sin(static_cast<float>(position) + static_cast<float>(i));
    ++rows;

    tightkv::kv_shape const shape{.heads = kv_heads, .tokens = rows, .head_dim = head_dim, .capacity = capacity};
    tightkv::kv_view const view{
        tightkv::hnd(keys.data(), shape), tightkv::hnd(values.data(), shape),
        tightkv::hnd(queries.data(), {.heads = query_heads, .tokens = 1, .head_dim = head_dim})};
    // Positions are rows of four bytes that nobody needs to read.
    auto const position_rows = tightkv::hnd(reinterpret_cast<std::byte*>(positions.data()),
                                            {.heads = kv_heads, .tokens = rows, .head_dim = 4, .capacity = capacity});
    rows = tightkv::compress(tightkv::cpu{}, method, view, state, position_rows).plan.after(0);
  }

  std::cout << "200 tokens seen, head 0 holds " << rows << ":";
  for (int r = 0; r < rows; ++r) std::cout << ' ' << positions[static_cast<std::size_t>(r)];
  std::cout << '\n';
  return rows == budget && positions[budget - 1] == 199 ? 0 : 1;
}
