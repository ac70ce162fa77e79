// SPDX-License-Identifier: Apache-2.0
/// Any bytes as a sequence state of llama.cpp: rows lie in the input and can be read, and what is written with fewer
/// tokens is read again with the rows that were kept.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <fuzz/support.hpp>
#include <interop/state_builder.hpp>
#include <tightkv/interop/llama_state.hpp>

namespace fuzz {

struct llama_state {
  static constexpr char const* name = "llama_state";

  static std::vector<std::string> seeds() {
    using enum tightkv::gguf::tensor_type;
    using test::state_builder;
    using test::stream_of_cells;
    stream_of_cells const small{.cells = 3, .layers = 1, .kv_heads = 1, .head_dim = 2},
        transposed{.cells = 4, .layers = 2, .head_dim = 3, .keys = f32, .values = bf16, .transposed = true},
        quantised{.cells = 3, .layers = 1, .kv_heads = 3, .head_dim = 64, .keys = q8_0, .values = q4_0},
        shuffled{.cells = 5, .layers = 1, .head_dim = 2, .positions = {4, 9, 1, 0, 2}, .sequence = 3},
        windowed{.cells = 2, .layers = 3, .kv_heads = 1, .head_dim = 4, .first_position = 1}, none{.cells = 0};
    state_builder const files[]{{.sections = {{small}}, .tokens = {1, 2, 3}},
                                {.sections = {{transposed}}, .version = 2, .tokens = {7}},
                                {.sections = {{quantised}}},
                                {.sections = {{none, shuffled, none}}},
                                {.sections = {{small}, {windowed}}, .tokens = {1}}};
    std::vector<std::string> all;
    for (auto const& f : files) {
      for (auto const& bytes : {f.file(), f.buffer()}) {
        all.emplace_back(reinterpret_cast<char const*>(bytes.data()), bytes.size());
      }
    }
    return all;
  }

  static void run(std::span<std::byte const> input) {
    auto const state = tightkv::llama_state::parse(input);
    require(inside(state.head, input), "the head lies outside the input");
    std::size_t bytes = state.head.size();
    for (auto const* const section : {&state.base, &state.window}) {
      require(inside(section->bytes, input), "a section lies outside the input");
      bytes += section->bytes.size();
      for (auto const& s : section->streams) check(s, input);
    }
    require(bytes == input.size(), "bytes are left over");
    for (int const kv_heads : {1, 2, 3}) {
      try {
        shrink(state, kv_heads);
      } catch (tightkv::bad_argument const&) {}
    }
  }

 private:
  static void check(tightkv::llama_state::stream const& s, std::span<std::byte const> input) {
    require(inside(s.cells, input), "the cells lie outside the input");
    touch(s.cells);
    for (int const cell : s.order) require(0 <= cell && cell < s.tokens(), "there is no such cell");
    for (auto const& l : s.layers) {
      for (auto const* const t : {&l.keys, &l.values}) {
        require(inside(t->bytes, input), "rows lie outside the input");
        require(t->bytes.size() == t->row_bytes() * s.order.size(), "rows have another size than they say");
        touch(t->bytes);
      }
    }
    for (int const kv_heads : {1, 2, 3}) {
      try {
        read(keys_of(s, kv_heads));
        read(values_of(s, kv_heads));
      } catch (tightkv::bad_argument const&) {}
    }
  }

  static void read(tightkv::llama_state::decoded_rows const& rows) {
    float volatile sum = 0;
    for (int h = 0; h < rows.heads(); ++h) {
      for (int t = 0; t < rows.tokens(h); ++t) {
        auto const r = rows.head(h)[t];
        for (int d = 0; d < r.size; ++d) sum = sum + r[d];
      }
    }
  }

  /// Keeps every second token, from the first or the second on by turns.
  static void shrink(tightkv::llama_state::contents const& state, int kv_heads) {
    std::vector<tightkv::plan> plans;
    for (auto const& s : state.base.streams) {
      if (s.tokens() == 0) continue;
      int const heads = static_cast<int>(s.layers.size()) * kv_heads, kept = std::max(1, s.tokens() / 2);
      std::vector<int> const before(static_cast<std::size_t>(heads), s.tokens()),
          after(static_cast<std::size_t>(heads), kept);
      auto& p = plans.emplace_back(before, after);
      for (int h = 0; h < heads; ++h) {
        for (int j = 0; j < kept; ++j) {
          p.kept(h)[static_cast<std::size_t>(j)] = std::min(2 * j + h % 2, s.tokens() - kept + j);
        }
      }
    }
    tightkv::llama_state::smaller const smaller(state, plans);
    std::vector<std::byte> out(smaller.size());
    smaller.write(tightkv::cpu{}, out);
    std::vector<std::byte> pieces(smaller.size());
    auto const put = [&](std::size_t offset, auto piece) {
      std::ranges::copy(piece, pieces.begin() + static_cast<std::ptrdiff_t>(offset));
    };
    smaller.write_pieces(tightkv::cpu{}, put);
    require(pieces == out, "the pieces are not the whole");
    std::ranges::fill(pieces, std::byte{0xaa});
    smaller.write_layers(
        tightkv::cpu{}, [](std::size_t, int) {}, put);
    require(pieces == out, "the layers and what is beside them are not the whole");
    auto const again = tightkv::llama_state::parse(out);
    require(std::ranges::equal(again.head, state.head) && std::ranges::equal(again.window.bytes, state.window.bytes),
            "what should be copied changes");
    auto p = plans.begin();
    for (std::size_t i = 0; i < state.base.streams.size(); ++i) {
      if (state.base.streams[i].tokens() > 0) compare(state.base.streams[i], again.base.streams[i], *p++, kv_heads);
    }
  }

  static void compare(tightkv::llama_state::stream const& before, tightkv::llama_state::stream const& after,
                      tightkv::plan const& p, int kv_heads) {
    require(after.tokens() == p.after(0) && after.last == before.last && after.last - after.first + 1 == after.tokens(),
            "the positions are not the last ones");
    for (auto const which : {&tightkv::llama_state::layer::keys, &tightkv::llama_state::layer::values}) {
      tightkv::llama_state::decoded_rows const old(before, which, kv_heads, {}), now(after, which, kv_heads, {});
      for (int h = 0; h < now.heads(); ++h) {
        for (int j = 0; j < now.tokens(h); ++j) {
          auto const a = old.head(h)[p.kept(h)[static_cast<std::size_t>(j)]];
          auto const b = now.head(h)[j];
          for (int d = 0; d < a.size; ++d) {
            require(a[d] == b[d] || (std::isnan(a[d]) && std::isnan(b[d])), "a row is not the one that was kept");
          }
        }
      }
    }
  }
};

}  // namespace fuzz
