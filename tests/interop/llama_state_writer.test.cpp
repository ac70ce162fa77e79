// SPDX-License-Identifier: Apache-2.0
#include <tightkv/interop/llama_state_writer.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <interop/state_builder.hpp>
#include <tightkv/core/thread_pool.hpp>
#include <tightkv/interop/llama_state_reader.hpp>

namespace llama_state_writer_test {

using namespace tightkv;
using test::state_builder;
using test::stream_of_cells;
using test::tensor_type;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::vector<std::byte> written(llama_state::contents const& state, std::vector<plan> const& plans) {
  llama_state::smaller const after{state, plans};
  std::vector<std::byte> out(after.size(), std::byte{0xaa});
  after.write(cpu{}, out);
  return out;
}

/// Keeps `kept` tokens of each head, other ones in each: every fifth, round and round, from another one on.
plan plan_for(stream_of_cells const& s, int kept) {
  int const heads = s.layers * s.kv_heads;
  std::vector<int> const before(static_cast<std::size_t>(heads), s.cells), after(static_cast<std::size_t>(heads), kept);
  plan p(before, after);
  for (int h = 0; h < heads; ++h) {
    std::vector<int> tokens;
    for (int j = 0; j < kept; ++j) tokens.push_back((h + 5 * j) % s.cells);
    std::ranges::sort(tokens);
    std::ranges::copy(tokens, p.kept(h).begin());
  }
  return p;
}

std::vector<int> positions(llama_state::stream const& s) {
  std::vector<int> all;
  for (std::size_t c = 0; c < s.cells.size(); c += llama_state::cell_bytes) {
    std::int32_t cell[3];
    std::memcpy(cell, s.cells.data() + c, sizeof cell);
    EXPECT_EQ(cell[1], 1);
    all.push_back(cell[0]);
  }
  return all;
}

/// The bytes of one head's row, found as the format says.
std::vector<std::byte> row_of(llama_state::tensor const& t, std::size_t heads, std::size_t head, std::size_t cell,
                              std::size_t cells) {
  std::vector<std::byte> row;
  auto const part = t.row_bytes() / heads;
  if (!t.transposed) {
    auto const at = t.bytes.subspan(cell * t.row_bytes() + head * part, part);
    return {at.begin(), at.end()};
  }
  auto const size = t.row_bytes() / t.width;
  for (std::size_t c = head * t.width / heads; c < (head + 1) * t.width / heads; ++c) {
    auto const at = t.bytes.subspan((c * cells + cell) * size, size);
    row.insert(row.end(), at.begin(), at.end());
  }
  return row;
}

/// Row j of each head is the row of its j-th kept token, bit for bit.
void expect_kept(llama_state::stream const& after, stream_of_cells const& made, plan const& p) {
  auto const kv_heads = static_cast<std::size_t>(made.kv_heads);
  ASSERT_EQ(after.tokens(), p.after(0));
  auto const cells = static_cast<std::size_t>(after.tokens());
  std::vector<int> sorted;
  for (int c = 0; c < made.cells; ++c) sorted.push_back(made.position(c));
  std::ranges::sort(sorted);
  for (int h = 0; h < p.heads(); ++h) {
    auto const layer = static_cast<std::size_t>(h) / kv_heads, head = static_cast<std::size_t>(h) % kv_heads;
    for (std::size_t j = 0; j < cells; ++j) {
      int const position = sorted[static_cast<std::size_t>(p.kept(h)[j])];
      auto const stored = [&](bool of_values) {
        return made.stored(static_cast<int>(layer), of_values, static_cast<int>(head), position).bytes;
      };
      EXPECT_EQ(row_of(after.layers[layer].keys, kv_heads, head, j, cells), stored(false))
          << "head " << h << " row " << j;
      EXPECT_EQ(row_of(after.layers[layer].values, kv_heads, head, j, cells), stored(true))
          << "head " << h << " row " << j;
    }
  }
}

TEST(llama_state_writer, a_plan_that_keeps_everything_gives_the_same_bytes) {
  stream_of_cells const made{.sequence = 1}, empty{.cells = 0}, windowed{.cells = 3, .first_position = 3};
  state_builder const builder{.sections = {{empty, made}, {empty, windowed}}, .tokens = {5, 6, 7}};
  for (auto const& bytes : {builder.file(), builder.buffer()}) {
    auto const state = llama_state::parse(bytes);
    EXPECT_EQ(written(state, {plan_for(made, made.cells)}), bytes);
  }
}

TEST(llama_state_writer, pieces_are_the_same_bytes) {
  // Tensors of 1 MB, of which some make a piece; and a window larger than a piece, which is not copied.
  stream_of_cells const made{.cells = 3, .layers = 3}, windowed{.cells = 3};
  auto const bytes = state_builder{.sections = {{made}, {windowed}}, .tokens = {5, 6}}.file();
  auto state = llama_state::parse(bytes);
  std::vector<std::byte> const rows(3 << 20, std::byte{7}), window(5 << 20, std::byte{8});
  for (auto& l : state.base.streams[0].layers) {
    for (auto* const t : {&l.keys, &l.values}) {
      t->bytes = std::span(rows).subspan(12, 3 << 19);
      t->width = 1 << 18;
    }
  }
  state.window.bytes = window;
  std::vector const plans{plan_for(made, 2)};
  llama_state::smaller const after{state, plans};
  basic_cpu const backwards{[](int n, auto&& f) {
    while (n > 0) f(--n);
  }};
  thread_pool pool{3};
  basic_cpu const threads{on_pool{pool}};
  std::vector<std::byte> whole(after.size());
  after.write(cpu{}, whole);
  auto const joined = [&](auto const& write) {
    std::vector<std::byte> bytes_put(after.size());
    std::size_t pieces = 0, put_in_all = 0;
    std::atomic<int> putting = 0;
    write([&](std::size_t offset, std::span<std::byte const> piece) {
      EXPECT_EQ(++putting, 1);
      EXPECT_TRUE(piece.size() <= 2 << 20 || piece.data() == window.data());
      std::ranges::copy(piece, bytes_put.begin() + static_cast<std::ptrdiff_t>(offset));
      ++pieces;
      put_in_all += piece.size();
      --putting;
    });
    EXPECT_GE(pieces, 3U);
    EXPECT_EQ(put_in_all, after.size());
    return bytes_put;
  };
  EXPECT_TRUE(joined([&](auto const& put) { after.write_pieces(backwards, put); }) == whole);
  EXPECT_TRUE(joined([&](auto const& put) { after.write_pieces(threads, put); }) == whole);

  // Layer by layer, what is kept being known only when its turn has come.
  auto const by_layers = [&](auto const& ex) {
    std::vector plans_to_be{plan(plans[0].lengths_before(), plans[0].lengths())};
    llama_state::smaller const undecided{state, plans_to_be, llama_state::decided_later{}};
    EXPECT_EQ(undecided.size(), after.size());
    return joined([&](auto const& put) {
      undecided.write_layers(
          ex,
          [&](std::size_t s, int layer) {
            for (int h = layer * made.kv_heads; h < (layer + 1) * made.kv_heads; ++h)
              std::ranges::copy(plans[s].kept(h), plans_to_be[s].kept(h).begin());
          },
          put);
    });
  };
  EXPECT_TRUE(by_layers(backwards) == whole);
  EXPECT_TRUE(by_layers(threads) == whole);
}

TEST(llama_state_writer, rows_of_every_type_move_as_bytes) {
  using enum tensor_type;
  for (auto const type : {f32, f16, bf16, q8_0, q4_0}) {
    for (bool const transposed : {false, true}) {
      stream_of_cells const made{
          .cells = 7, .head_dim = 32, .value_dim = 64, .keys = type, .values = type, .transposed = transposed};
      if (transposed && (type == q8_0 || type == q4_0)) continue;
      auto const bytes = state_builder{.sections = {{made}}}.buffer();
      auto const p = plan_for(made, 3);
      auto const out = written(llama_state::parse(bytes), {p});
      auto const after = llama_state::parse(out);
      expect_kept(after.base.streams[0], made, p);
    }
  }
}

TEST(llama_state_writer, the_rows_get_the_last_positions) {
  stream_of_cells const made{.cells = 6, .positions = {3, 4, 5, 0, 1, 2}, .sequence = 9};
  auto const bytes = state_builder{.sections = {{made}}, .tokens = {4, 4, 4}}.file();
  auto const p = plan_for(made, 2);
  auto const out = written(llama_state::parse(bytes), {p});
  auto const after = llama_state::parse(out);
  EXPECT_EQ(after.listed_tokens, 3U);
  EXPECT_TRUE(std::ranges::equal(after.head, std::span(bytes).first(after.head.size())));
  EXPECT_THAT(positions(after.base.streams[0]), ElementsAre(4, 5));
  EXPECT_FALSE(after.base.streams[0].is_whole());
  expect_kept(after.base.streams[0], made, p);
}

TEST(llama_state_writer, a_second_time_goes_on_from_the_last_position) {
  stream_of_cells const made{.cells = 4, .positions = {10, 11, 20, 21}};
  auto const bytes = state_builder{.sections = {{made}}}.buffer();
  auto const out = written(llama_state::parse(bytes), {plan_for(made, 3)});
  EXPECT_THAT(positions(llama_state::parse(out).base.streams[0]), ElementsAre(19, 20, 21));
}

TEST(llama_state_writer, a_section_with_a_window_is_copied) {
  stream_of_cells const made{.cells = 6}, windowed{.cells = 4, .layers = 3, .head_dim = 8, .first_position = 2};
  auto const bytes = state_builder{.sections = {{made}, {windowed}}}.buffer();
  auto const before = llama_state::parse(bytes);
  auto const p = plan_for(made, 1);
  auto const out = written(before, {p});
  auto const after = llama_state::parse(out);
  expect_kept(after.base.streams[0], made, p);
  EXPECT_TRUE(std::ranges::equal(after.window.bytes, before.window.bytes));
}

TEST(llama_state_writer, each_stream_has_its_own_plan) {
  stream_of_cells const one{.cells = 4}, other{.cells = 7, .sequence = 1, .seed = 2};
  auto const bytes = state_builder{.sections = {{one, stream_of_cells{.cells = 0}, other}}}.buffer();
  std::vector const plans{plan_for(one, 1), plan_for(other, 5)};
  auto const out = written(llama_state::parse(bytes), plans);
  auto const after = llama_state::parse(out);
  expect_kept(after.base.streams[0], one, plans[0]);
  EXPECT_EQ(after.base.streams[1].tokens(), 0);
  expect_kept(after.base.streams[2], other, plans[1]);
}

class llama_state_plans : public ::testing::Test {
 protected:
  stream_of_cells const made{};
  std::vector<std::byte> const bytes = state_builder{}.buffer();
  llama_state::contents const state = llama_state::parse(bytes);

  std::string refusal(std::vector<plan> const& plans) const {
    try {
      llama_state::smaller{state, plans};
    } catch (bad_argument const& e) {
      return e.what();
    }
    return "accepted";
  }
};

TEST_F(llama_state_plans, that_do_not_fit_are_refused) {
  EXPECT_THAT(refusal({}), HasSubstr("a plan for each stream"));
  EXPECT_THAT(refusal({plan_for(made, 2), plan_for(made, 2)}), HasSubstr("a plan for each stream"));
  EXPECT_THAT(refusal({plan::of({6, 6, 6}, {{0}, {0}, {0}})}), HasSubstr("KV heads of each layer"));
  EXPECT_THAT(refusal({plan::of({}, {})}), HasSubstr("KV heads of each layer"));
  EXPECT_THAT(refusal({plan::of({5, 5, 5, 5}, {{0}, {0}, {0}, {0}})}), HasSubstr("another number of tokens"));
  EXPECT_THAT(refusal({plan::of({6, 6, 6, 6}, {{0}, {0}, {0, 1}, {0}})}), HasSubstr("the same number of tokens"));
  EXPECT_THAT(refusal({plan::of({6, 6, 6, 6}, {{}, {}, {}, {}})}), HasSubstr("at least one token"));
  EXPECT_THAT(refusal({plan::of({6, 6, 6, 6}, {{1, 0}, {0, 1}, {0, 1}, {0, 1}})}), HasSubstr("ascend"));
  stream_of_cells const finer{.kv_heads = 16};
  EXPECT_THAT(refusal({plan_for(finer, 1)}), HasSubstr("whole blocks of each KV head"));
}

TEST_F(llama_state_plans, decided_out_of_order_are_refused_when_their_layer_is_written) {
  std::vector plans{plan::of({6, 6, 6, 6}, {{0, 1}, {0, 1}, {0, 1}, {0, 1}})};
  llama_state::smaller const after{state, plans, llama_state::decided_later{}};
  std::size_t put = 0;
  auto const decide = [&](std::size_t s, int layer) {
    if (layer == 1) plans[s].kept(3)[0] = 6;
  };
  try {
    after.write_layers(cpu{}, decide, [&](std::size_t, std::span<std::byte const> piece) { put += piece.size(); });
    ADD_FAILURE() << "accepted";
  } catch (bad_argument const& e) {
    EXPECT_THAT(e.what(), HasSubstr("ascend"));
  }
  EXPECT_LT(put, after.size());
}

TEST_F(llama_state_plans, need_memory_of_the_right_size) {
  std::vector const plans{plan_for(made, 2)};
  llama_state::smaller const after{state, plans};
  std::vector<std::byte> out(after.size() - 1);
  EXPECT_THROW(after.write(cpu{}, out), bad_argument);
}

}  // namespace llama_state_writer_test
