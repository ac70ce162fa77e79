// SPDX-License-Identifier: Apache-2.0
/// Writes the smaller state: the rows that a plan keeps, under positions from which the engine goes on as if all were
/// there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <tightkv/core/executor.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/interop/llama_state_format.hpp>
#include <tightkv/ops/compact.hpp>

namespace tightkv::llama_state {
namespace detail {

/// What is left of one tensor.
struct kept_rows {
  tensor const* from;
  std::span<int const> order;  // cell of each token
  plan const* kept;
  int first_head;  // of this layer, in the plan
  int heads;

  std::size_t rows() const noexcept { return static_cast<std::size_t>(kept->after(first_head)); }
  std::size_t bytes() const { return rows() * from->row_bytes(); }
  void write(std::byte* to) const {
    if (!from->transposed) return write_rows(to);
    from->row_bytes() == 2 * from->width ? write_columns<std::uint16_t>(to) : write_columns<std::uint32_t>(to);
  }

 private:
  std::byte const* source(int head, std::size_t j, std::size_t stride) const noexcept {
    auto const token = static_cast<std::size_t>(kept->kept(first_head + head)[j]);
    return from->bytes.data() + static_cast<std::size_t>(order[token]) * stride;
  }

  void write_rows(std::byte* to) const {
    auto const row = from->row_bytes();
    auto const part = row / static_cast<std::size_t>(heads);
    for (std::size_t j = 0; j < rows(); ++j) {
      for (int h = 0; h < heads; ++h, to += part) {
        std::memcpy(to, source(h, j, row) + static_cast<std::size_t>(h) * part, part);
      }
    }
  }

  template <class Element>
  void write_columns(std::byte* to) const {
    auto const column = order.size() * sizeof(Element);
    auto const head_dim = from->width / static_cast<std::size_t>(heads);
    for (std::size_t c = 0; c < from->width; ++c) {
      auto const h = static_cast<int>(c / head_dim);
      for (std::size_t j = 0; j < rows(); ++j, to += sizeof(Element)) {
        std::memcpy(to, source(h, j, sizeof(Element)) + c * column, sizeof(Element));
      }
    }
  }
};

}  // namespace detail

/// A state with fewer tokens, not yet written.
///
///     tightkv::llama_state::smaller const after{state, plans};
///     std::vector<std::byte> bytes(after.size());
///     after.write(ex, bytes);
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
    copy(state.head);
    copy(state.base.bytes.first(sizeof(std::uint32_t)));
    std::size_t used = 0;
    for (auto const& s : state.base.streams) {
      if (s.tokens() == 0) {
        tables_.push_back({std::exchange(size_, size_ + sizeof(std::uint32_t)), &s, 0});
        continue;
      }
      detail::expects(used < plans.size(), "llama_state", "needs a plan for each stream with tokens", "plans",
                      plans.size());
      add(s, plans[used++]);
    }
    detail::expects(used == plans.size(), "llama_state", "needs a plan for each stream with tokens", "plans",
                    plans.size(), "streams", used);
    copy(state.window.bytes);
  }

  std::size_t size() const noexcept { return size_; }

  /// Fills `out`, which must have `size()` bytes and not overlap the old state.
  template <executor E>
  void write(E const& ex, std::span<std::byte> out) const {
    detail::expects(out.size() == size_, "llama_state", "needs memory of exactly the new size", "given", out.size(),
                    "size", size_);
    for (auto const& [at, bytes] : copies_) std::memcpy(out.data() + at, bytes.data(), bytes.size());
    for (auto const& t : tables_) t.write(out.data() + t.at);
    ex.for_each_index(static_cast<int>(moves_.size()), [&](int i) {
      auto const& [at, rows] = moves_[static_cast<std::size_t>(i)];
      rows.write(out.data() + at);
    });
  }

 private:
  struct copied {
    std::size_t at;
    std::span<std::byte const> bytes;
  };
  struct moved {
    std::size_t at;
    detail::kept_rows rows;
  };
  /// The number of cells, and the cells.
  struct table {
    std::size_t at;
    stream const* of;
    int cells;

    std::size_t bytes() const noexcept { return sizeof(std::uint32_t) + static_cast<std::size_t>(cells) * cell_bytes; }
    void write(std::byte* to) const {
      auto const count = static_cast<std::uint32_t>(cells);
      std::memcpy(to, &count, sizeof count);
      to += sizeof count;
      for (std::int32_t position = of->last - cells + 1; position <= of->last && cells > 0; ++position) {
        std::memcpy(to, of->cells.data(), cell_bytes);  // all are of one sequence
        std::memcpy(to, &position, sizeof position);
        to += cell_bytes;
      }
    }
  };

  void copy(std::span<std::byte const> bytes) {
    if (!bytes.empty()) copies_.push_back({std::exchange(size_, size_ + bytes.size()), bytes});
  }

  void add(stream const& s, plan const& p) {
    int const layers = static_cast<int>(s.layers.size());
    int const heads = p.heads() / layers;
    check(s, p, heads);
    tables_.push_back({size_, &s, p.after(0)});
    size_ += tables_.back().bytes();
    copy({s.cells.data() + s.cells.size(), 2 * sizeof(std::uint32_t)});  // whether transposed, and how many layers
    for (auto const which : {&layer::keys, &layer::values}) {
      for (int l = 0; l < layers; ++l) {
        auto const& t = s.layers[static_cast<std::size_t>(l)].*which;
        copy({t.bytes.data() - header_bytes, header_bytes});
        moves_.push_back({size_, {&t, s.order, &p, l * heads, heads}});
        size_ += moves_.back().rows.bytes();
      }
    }
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

  std::vector<copied> copies_;
  std::vector<table> tables_;
  std::vector<moved> moves_;
  std::size_t size_ = 0;
};

}  // namespace tightkv::llama_state
