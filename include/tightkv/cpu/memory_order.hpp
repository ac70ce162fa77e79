// SPDX-License-Identifier: Apache-2.0
/// Rows of all heads in the order in which they lie in memory, for kernels that take them one by one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <vector>

#include <tightkv/cpu/row_table.hpp>

namespace tightkv::detail {

/// Bytes from a token to the next where the heads of a layer lie side by side; 0 where they do not.
template <class P>
requires has_whole_rows<P> std::ptrdiff_t token_stride_of_heads_side_by_side(P const& rows) {
  if (rows.heads() == 0 || rows.heads_per_layer() < 2 || rows.tokens(0) < 2 || rows.tokens(1) < 1) return 0;
  auto const distance = [](auto const* a, auto const* b) {
    return std::max(reinterpret_cast<std::uintptr_t>(a), reinterpret_cast<std::uintptr_t>(b)) -
           std::min(reinterpret_cast<std::uintptr_t>(a), reinterpret_cast<std::uintptr_t>(b));
  };
  auto const head = rows.head(0);
  auto const between_tokens = distance(head[0].data, head[1].data);
  bool const side_by_side = distance(head[0].data, rows.head(1)[0].data) < between_tokens;
  return side_by_side ? static_cast<std::ptrdiff_t>(between_tokens) : 0;
}

/// Cuts a plane into pieces of at most `most` rows: as a rule of one head each. Where the heads of a layer lie side by
/// side, or in pages, a piece has some tokens of all of them, page by page: who reads such a layer one head after
/// another comes to each page of memory many times, for a few lines each.
template <kv_plane P>
requires has_whole_rows<P>
class memory_order {
 public:
  using value_type = typename P::value_type;

  /// Tokens [begin, end) of heads [first, last).
  struct piece {
    int first;
    int last;
    int begin;
    int end;
  };

  memory_order(P const& rows, int most, std::pmr::memory_resource* memory) : rows_(rows), pieces_(memory) {
    if (rows.heads() == 0) return;
    look_at(rows.head(0));
    int const layer = std::max(1, rows.heads_per_layer());
    int const together = one_by_one() || layer > most ? 1 : layer;
    int tokens = most / together;
    if (page_ < tokens) tokens = tokens / page_ * page_;
    for (int first = 0; first < rows.heads(); first += together) {
      int const last = std::min(first + together, rows.heads());
      int longest = 0;
      for (int h = first; h < last; ++h) longest = std::max(longest, rows.tokens(h));
      for (int begin = 0; begin < longest; begin += tokens)
        pieces_.push_back({first, last, begin, std::min(begin + tokens, longest)});
    }
  }

  int count() const noexcept { return static_cast<int>(pieces_.size()); }
  piece operator[](int i) const noexcept { return pieces_[static_cast<std::size_t>(i)]; }

  /// Tokens [begin, end) of a head: the first of them is number `place` of its piece, each other `apart` later.
  struct run {
    int head;
    int begin;
    int end;
    int place;
    int apart;
  };

  /// Calls `f(run)` for all rows of a piece.
  template <class F>
  void for_each_run(piece const& p, F const& f) const {
    for (int begin = p.begin, end = 0, place = 0; begin < p.end; begin = end) {
      end = heads_side_by_side_ ? p.end : std::min(p.end, begin / page_ * page_ + page_);
      int heads = 0;
      for (int h = p.first; h < p.last; ++h) {
        if (rows_.tokens(h) <= begin) continue;
        end = std::min(end, rows_.tokens(h));
        ++heads;
      }
      int const apart = heads_side_by_side_ ? heads : 1;
      int first = place;
      for (int h = p.first; h < p.last; ++h) {
        if (rows_.tokens(h) <= begin) continue;
        f(run{h, begin, end, first, apart});
        first += heads_side_by_side_ ? 1 : end - begin;
      }
      place += heads * (end - begin);
    }
  }

 private:
  bool one_by_one() const noexcept { return !heads_side_by_side_ && page_ == no_pages; }

  template <class Head>
  void look_at(Head const& head) {
    if constexpr (requires { head.page_size(); }) page_ = head.page_size();
    heads_side_by_side_ = token_stride_of_heads_side_by_side(rows_) > 0;
  }

  static constexpr int no_pages = 1 << 30;  // tokens

  P rows_;
  int page_ = no_pages;  // tokens
  bool heads_side_by_side_ = false;
  std::pmr::vector<piece> pieces_;
};

}  // namespace tightkv::detail
