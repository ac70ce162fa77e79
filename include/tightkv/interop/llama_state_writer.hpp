// SPDX-License-Identifier: Apache-2.0
/// Writes the smaller state: the rows that a plan keeps, under positions from which the engine goes on as if all were
/// there.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include <tightkv/core/executor.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/cpu/scratch.hpp>
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

/// That the rows of the plans are decided while the state is written.
struct decided_later {};

/// A state with fewer tokens, not yet written.
///
///     tightkv::llama_state::smaller const after{state, plans};
///     std::vector<std::byte> bytes(after.size());
///     after.write(ex, bytes);                                                           // or, in large pieces:
///     tightkv::write_file_unordered(path, after.size(), [&](auto const& put) { after.write_pieces(ex, put); });
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
  smaller(contents const& state, std::span<plan const> plans) : smaller(state, plans, decided_later{}) {
    for (auto const& p : plans) tightkv::detail::check_ascending("llama_state", p);
  }
  /// Only the lengths of the plans are known yet: for `write_layers`.
  smaller(contents const& state, std::span<plan const> plans, decided_later) {
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
      add(s, used, plans[used]);
      ++used;
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

  /// Calls `put(offset, bytes)` for all of the new state, in large pieces and any order. Memory stays small. `put` may
  /// be called from any of the executor's threads, though never from two at once: while one puts, the others make.
  template <executor E, class Put>
  void write_pieces(E const& ex, Put&& put) const {
    auto const all = cut({0, parts_.size()});
    in_turns(ex, all.size(), largest(all), put, [&](std::size_t i, auto const& write) { write(all[i]); });
  }

  /// The same where rows are decided meanwhile: `decide(stream, layer)` fills in what the heads of that layer keep, in
  /// the plan of that stream, and the layer is written by the same thread, while its rows are in that thread's cache.
  ///
  ///     tightkv::llama_state::smaller const after{state, plans, tightkv::llama_state::decided_later{}};
  ///     after.write_layers(ex, [&](std::size_t s, int l) { fill(plans[s], l); }, put);
  ///
  /// `decide` may be called from several threads at once. Throws `bad_argument` when it leaves tokens out of order;
  /// some pieces have been put then.
  template <executor E, class Decide, class Put>
  void write_layers(E const& ex, Decide&& decide, Put&& put) const {
    auto const others = cut_beside_layers();
    auto most = largest(others);
    for (auto const& l : layers_) most = std::max({most, largest(cut(l.keys)), largest(cut(l.values))});
    in_turns(ex, layers_.size() + others.size(), most, put, [&](std::size_t i, auto const& write) {
      if (i >= layers_.size()) return write(others[i - layers_.size()]);
      auto const& l = layers_[i];
      decide(l.stream, l.number);
      for (int h = 0; h < l.heads; ++h) {
        tightkv::detail::check_ascending("llama_state", *l.kept, l.number * l.heads + h);
      }
      for (auto const parts : {l.keys, l.values}) {
        for (auto const& p : cut(parts)) write(p);
      }
    });
  }

 private:
  struct part {
    std::size_t at;
    std::variant<detail::copied, detail::cell_table, detail::kept_rows> what;

    void write(std::byte* to) const {
      std::visit([&](auto const& w) { w.write(to); }, what);
    }
  };

  /// Parts [begin, end).
  struct piece {
    std::size_t begin;
    std::size_t end;
  };
  struct kept_layer {
    std::size_t stream;  // of those with tokens
    int number;
    int heads;
    plan const* kept;
    piece keys;
    piece values;
  };

  template <class Part>
  void add(Part const& what) {
    parts_.push_back({size_, what});
    size_ += what.bytes();
  }

  void add(stream const& s, std::size_t number, plan const& p) {
    int const layers = static_cast<int>(s.layers.size());
    int const heads = p.heads() / layers;
    check(s, p, heads);
    add(detail::cell_table{&s, p.after(0)});
    add(detail::copied{{s.cells.data() + s.cells.size(), 2 * sizeof(std::uint32_t)}});  // transposed or not, layers
    auto const add_tensor = [&](tensor const& t, int l) {
      auto const begin = parts_.size();
      add(detail::copied{{t.bytes.data() - header_bytes, header_bytes}});
      add_rows({&t, s.order, &p, l * heads, heads, 0, static_cast<std::size_t>(p.after(l * heads))});
      return piece{begin, parts_.size()};
    };
    auto const first = layers_.size();
    for (int l = 0; l < layers; ++l) {
      layers_.push_back({number, l, heads, &p, add_tensor(s.layers[static_cast<std::size_t>(l)].keys, l), {}});
    }
    for (int l = 0; l < layers; ++l) {
      auto const i = static_cast<std::size_t>(l);
      layers_[first + i].values = add_tensor(s.layers[i].values, l);
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

  /// Pieces of about a megabyte.
  std::vector<piece> cut(piece const& all) const {
    constexpr std::size_t large = std::size_t{1} << 20;
    std::vector<piece> pieces;
    for (auto i = all.begin; i < all.end; ++i) {
      if (pieces.empty() || end_of(i) - parts_[pieces.back().begin].at > large) pieces.push_back({i, i});
      pieces.back().end = i + 1;
    }
    return pieces;
  }
  std::vector<piece> cut_beside_layers() const {
    std::vector<bool> of_layer(parts_.size() + 1);
    for (auto const& l : layers_) {
      for (auto const parts : {l.keys, l.values}) {
        for (auto i = parts.begin; i < parts.end; ++i) of_layer[i] = true;
      }
    }
    of_layer.back() = true;
    std::vector<piece> pieces;
    for (std::size_t i = 0, begin = 0; i <= parts_.size(); ++i) {
      if (!of_layer[i]) continue;
      auto const more = cut({begin, i});
      pieces.insert(pieces.end(), more.begin(), more.end());
      begin = i + 1;
    }
    return pieces;
  }

  /// Calls `work(i, write)` for each i below `count`; `write` makes a piece, of at most so many bytes, and puts it.
  /// Each thread that comes works until nothing is left, in memory of its own that stays warm.
  template <class E, class Put, class Work>
  void in_turns(E const& ex, std::size_t count, std::size_t bytes, Put& put, Work const& work) const {
    constexpr std::size_t most_threads = 64;
    std::atomic<std::size_t> next = 0;
    std::mutex putting;
    ex.for_each_index(static_cast<int>(std::min(count, most_threads)), [&](int) {
      std::optional<tightkv::detail::scratch<std::byte>> memory;
      auto const write = [&](piece const& p) {
        auto const start = parts_[p.begin].at;
        auto const* const there = piece_that_is_there(p);
        std::span<std::byte const> made;
        if (there != nullptr) {
          made = there->from;
        } else {
          if (!memory) memory.emplace(bytes + 2 * page, ex.resource());
          auto* const to = congruent(memory->data(), start);
          for (auto j = p.begin; j < p.end; ++j) parts_[j].write(to + (parts_[j].at - start));
          made = std::span<std::byte const>(to, end_of(p.end - 1) - start);
        }
        std::scoped_lock const alone{putting};
        put(start, made);
      };
      for (auto i = next++; i < count; i = next++) work(i, write);
    });
  }

  /// A piece of old bytes alone needs no making.
  detail::copied const* piece_that_is_there(piece const& p) const noexcept {
    return p.end == p.begin + 1 ? std::get_if<detail::copied>(&parts_[p.begin].what) : nullptr;
  }

  /// Bytes of the largest piece that has to be made.
  std::size_t largest(std::vector<piece> const& pieces) const noexcept {
    std::size_t most = 0;
    for (auto const& p : pieces) {
      if (!piece_that_is_there(p)) most = std::max(most, end_of(p.end - 1) - parts_[p.begin].at);
    }
    return most;
  }

  /// The first byte from `memory` on that lies in its page where `offset` does: memory and file are then copied page by
  /// page, and some processors copy half as fast between places that differ by a few bytes.
  static std::byte* congruent(std::byte* memory, std::size_t offset) noexcept {
    auto const address = reinterpret_cast<std::uintptr_t>(memory);
    return memory + (page + offset % page - address % page) % page;
  }

  static void check(stream const& s, plan const& p, int heads) {
    using detail::expects;
    auto const layers = static_cast<int>(s.layers.size());
    expects(heads >= 1 && p.heads() == heads * layers, "llama_state", "a plan must have the KV heads of each layer",
            "plan", p.heads(), "layers", layers);
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

  static constexpr std::size_t page = 4096;
  static constexpr std::size_t header_bytes = 12;  // of a tensor, before its rows

  std::vector<part> parts_;  // in the order of the file
  std::vector<kept_layer> layers_;
  std::size_t size_ = 0;
};

}  // namespace tightkv::llama_state
