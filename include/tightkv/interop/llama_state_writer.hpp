// SPDX-License-Identifier: Apache-2.0
/// Writes the smaller state: the rows that a plan keeps, under positions from which the engine goes on as if all were
/// there.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <span>
#include <variant>
#include <vector>

#include <tightkv/core/executor.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/interop/llama_state_format.hpp>
#include <tightkv/ops/compact.hpp>

namespace tightkv::llama_state {
namespace detail {

/// What is left of one tensor, or of a transposed one: rows [begin, end) of what is kept, so that a tensor is work for
/// more than one thread.
struct kept_rows {
  tensor const* from;
  std::span<int const> order;  // cell of each token
  plan const* kept;
  int first_head;  // of this layer, in the plan
  int heads;
  std::size_t begin;
  std::size_t end;

  std::size_t bytes() const { return (end - begin) * from->row_bytes(); }
  void write(std::byte* to) const {
    if (!from->transposed) return write_rows(to);
    from->row_bytes() == 2 * from->width ? write_columns<std::uint16_t>(to) : write_columns<std::uint32_t>(to);
  }

 private:
  std::span<int const> tokens(int head) const noexcept {
    return kept->kept(first_head + head).subspan(begin, end - begin);
  }

  std::size_t cell(int token) const noexcept {
    return static_cast<std::size_t>(order[static_cast<std::size_t>(token)]);
  }

  /// The kept rows of a head lie apart, so memory is told in advance which come next.
  void write_rows(std::byte* to) const {
    constexpr std::size_t ahead = 8, line = 64;
    auto const row = from->row_bytes();
    auto const part = row / static_cast<std::size_t>(heads);
    auto const count = end - begin;
    for (std::size_t j = 0; j < count; ++j) {
      auto const* source = from->bytes.data();
      for (int h = 0; h < heads; ++h, source += part, to += part) {
        auto const* const kept_here = tokens(h).data();
        if (j + ahead < count) {
          auto const* const next = source + cell(kept_here[j + ahead]) * row;
          for (std::size_t b = 0; b < part; b += line) __builtin_prefetch(next + b);
        }
        std::memcpy(to, source + cell(kept_here[j]) * row, part);
      }
    }
  }

  template <class Element>
  void write_columns(std::byte* to) const {
    auto const column = order.size() * sizeof(Element);
    auto const head_dim = from->width / static_cast<std::size_t>(heads);
    auto const* source = from->bytes.data();
    for (std::size_t c = 0; c < from->width; ++c, source += column) {
      for (int const token : tokens(static_cast<int>(c / head_dim))) {
        std::memcpy(to, source + cell(token) * sizeof(Element), sizeof(Element));
        to += sizeof(Element);
      }
    }
  }
};

/// The number of cells, and the cells.
struct cell_table {
  stream const* of;
  int cells;

  std::size_t bytes() const noexcept { return sizeof(std::uint32_t) + static_cast<std::size_t>(cells) * cell_bytes; }
  void write(std::byte* to) const {
    auto const count = static_cast<std::uint32_t>(cells);
    std::memcpy(to, &count, sizeof count);
    to += sizeof count;
    for (int i = 1; i <= cells; ++i, to += cell_bytes) {
      std::int32_t const position = of->last - cells + i;
      std::memcpy(to, of->cells.data(), cell_bytes);  // all are of one sequence
      std::memcpy(to, &position, sizeof position);
    }
  }
};

/// Bytes that stay as they are.
struct copied {
  std::span<std::byte const> from;

  std::size_t bytes() const noexcept { return from.size(); }
  void write(std::byte* to) const { std::copy(from.begin(), from.end(), to); }
};

}  // namespace detail

/// A state with fewer tokens, not yet written.
///
///     tightkv::llama_state::smaller const after{state, plans};
///     std::vector<std::byte> bytes(after.size());
///     after.write(ex, bytes);                                                           // or, in large pieces:
///     tightkv::write_file(path, [&](auto const& put) { after.write_pieces(ex, put); });
///
/// `plans` has one plan for each stream that has tokens, in their order: its heads are those of `keys_of`, layer by
/// layer. Since one table of cells serves all heads of all layers, all must keep the same number of tokens. Each head
/// may keep other ones: llama.cpp's keys are stored after RoPE, and its mask looks at positions alone. The n rows are
/// labelled with the last n positions, so that the next token has the position it would have had. Rows move as bytes.
/// A file's token list stays whole, and so do the layers with a sliding window.
///
/// Needs the state and the plans to outlive it. Throws `bad_argument` when a plan is for another state, keeps unequal
/// numbers or nothing, or its heads cut a row's blocks in two.
class smaller {
 public:
  smaller(contents const& state, std::span<plan const> plans) {
    add(detail::copied{state.head});
    add(detail::copied{state.base.bytes.first(sizeof(std::uint32_t))});  // the number of streams
    std::size_t used = 0;
    for (auto const& s : state.base.streams) {
      if (s.tokens() == 0) {
        add(detail::cell_table{&s, 0});
        continue;
      }
      detail::expects(used < plans.size(), "llama_state", "needs a plan for each stream with tokens", "plans",
                      plans.size());
      add(s, plans[used++]);
    }
    detail::expects(used == plans.size(), "llama_state", "needs a plan for each stream with tokens", "plans",
                    plans.size(), "streams", used);
    add(detail::copied{state.window.bytes});
  }

  std::size_t size() const noexcept { return size_; }

  /// Fills `out`, which must have `size()` bytes and not overlap the old state.
  template <executor E>
  void write(E const& ex, std::span<std::byte> out) const {
    detail::expects(out.size() == size_, "llama_state", "needs memory of exactly the new size", "given", out.size(),
                    "size", size_);
    ex.for_each_index(static_cast<int>(parts_.size()), [&](int i) {
      auto const& p = parts_[static_cast<std::size_t>(i)];
      p.write(out.data() + p.at);
    });
  }

  /// Calls `put(bytes)` with one piece of the new state after the other. Memory stays small, and while one piece is put
  /// the next is made: `put` may be called from any of the executor's threads, though never from two at once.
  template <executor E, class Put>
  void write_pieces(E const& ex, Put&& put) const {
    std::pmr::vector<std::byte> made(largest_piece(), ex.resource()), next(made.size(), ex.resource());
    std::span<std::byte const> ready;  // made, or there already, and not yet put
    for (std::size_t begin = 0, end = 0; begin < parts_.size(); begin = end) {
      end = end_of_piece(begin);
      auto const start = parts_[begin].at, bytes = end_of(end - 1) - start;
      auto const* const there = piece_that_is_there(begin, end);
      ex.for_each_index(1 + (there ? 0 : static_cast<int>(end - begin)), [&](int i) {
        if (i == 0) return ready.empty() ? void() : static_cast<void>(put(ready));
        auto const& p = parts_[begin + static_cast<std::size_t>(i) - 1];
        p.write(next.data() + (p.at - start));
      });
      made.swap(next);
      ready = there ? there->from : std::span<std::byte const>(made).first(bytes);
    }
    put(ready);
  }

 private:
  struct part {
    std::size_t at;
    std::variant<detail::copied, detail::cell_table, detail::kept_rows> what;

    void write(std::byte* to) const {
      std::visit([&](auto const& w) { w.write(to); }, what);
    }
  };

  template <class Part>
  void add(Part const& what) {
    parts_.push_back({size_, what});
    size_ += what.bytes();
  }

  void add(stream const& s, plan const& p) {
    int const layers = static_cast<int>(s.layers.size());
    int const heads = p.heads() / layers;
    check(s, p, heads);
    add(detail::cell_table{&s, p.after(0)});
    add(detail::copied{{s.cells.data() + s.cells.size(), 2 * sizeof(std::uint32_t)}});  // transposed or not, layers
    for (auto const which : {&layer::keys, &layer::values}) {
      for (int l = 0; l < layers; ++l) {
        auto const& t = s.layers[static_cast<std::size_t>(l)].*which;
        add(detail::copied{{t.bytes.data() - header_bytes, header_bytes}});
        add_rows({&t, s.order, &p, l * heads, heads, 0, static_cast<std::size_t>(p.after(l * heads))});
      }
    }
  }

  /// Cut so small that a thread makes it in its own cache; columns are as long as they are.
  void add_rows(detail::kept_rows all) {
    constexpr std::size_t most = std::size_t{128} << 10;  // bytes
    auto const step = all.from->transposed ? all.end : std::max<std::size_t>(1, most / all.from->row_bytes());
    for (auto const end = all.end; all.begin < end; all.begin = all.end) {
      all.end = std::min(all.begin + step, end);
      add(all);
    }
  }

  std::size_t end_of(std::size_t i) const noexcept { return i + 1 < parts_.size() ? parts_[i + 1].at : size_; }

  /// Where the piece that begins with this part ends.
  std::size_t end_of_piece(std::size_t begin) const noexcept {
    constexpr std::size_t large = std::size_t{1} << 20;
    auto end = begin + 1;
    while (end < parts_.size() && end_of(end) - parts_[begin].at <= large) ++end;
    return end;
  }

  /// A piece of old bytes alone needs no making.
  detail::copied const* piece_that_is_there(std::size_t begin, std::size_t end) const noexcept {
    return end == begin + 1 ? std::get_if<detail::copied>(&parts_[begin].what) : nullptr;
  }

  /// Bytes of the largest piece that has to be made.
  std::size_t largest_piece() const noexcept {
    std::size_t most = 0;
    for (std::size_t begin = 0, end = 0; begin < parts_.size(); begin = end) {
      end = end_of_piece(begin);
      if (!piece_that_is_there(begin, end)) most = std::max(most, end_of(end - 1) - parts_[begin].at);
    }
    return most;
  }

  static void check(stream const& s, plan const& p, int heads) {
    using detail::expects;
    auto const layers = static_cast<int>(s.layers.size());
    expects(heads >= 1 && p.heads() == heads * layers, "llama_state", "a plan must have the KV heads of each layer",
            "plan", p.heads(), "layers", layers);
    tightkv::detail::check_ascending("llama_state", p);
    for (int h = 0; h < p.heads(); ++h) {
      expects(p.before(h) == s.tokens(), "llama_state", "the plan is for another number of tokens", "plan", p.before(h),
              "tokens", s.tokens());
      expects(p.after(h) == p.after(0), "llama_state", "all heads of all layers must keep the same number of tokens",
              "kept", p.after(h), "first", p.after(0));
    }
    expects(p.after(0) >= 1, "llama_state", "at least one token must stay");
    for (auto const& l : s.layers) {
      for (auto const* const t : {&l.keys, &l.values}) {
        auto const count = static_cast<std::size_t>(heads);
        expects(t->width % count == 0 && t->width / count % gguf::block_of(t->type).elements == 0, "llama_state",
                "a row must divide into whole blocks of each KV head", "width", t->width, "kv_heads", heads);
      }
    }
  }

  static constexpr std::size_t header_bytes = 12;  // of a tensor, before its rows

  std::vector<part> parts_;  // in the order of the file
  std::size_t size_ = 0;
};

}  // namespace tightkv::llama_state
