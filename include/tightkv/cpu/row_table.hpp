// SPDX-License-Identifier: Apache-2.0
/// The addresses of some rows of a head: fast kernels work on any layout through them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <type_traits>
#include <utility>
#include <vector>

#include <tightkv/view/plane.hpp>

namespace tightkv::detail {

/// A plane whose rows lie in one piece each.
template <class P>
concept has_whole_rows = requires(P const& p) {
  { p.head(0)[0].data } -> std::convertible_to<typename P::value_type const*>;
};

/// Finds the rows of a head by their tokens. A token in the page of the one before costs no division, which takes as
/// long as scoring a few channels.
template <class Head>
class row_finder {
 public:
  explicit row_finder(Head const& head) : head_(head) {}

  auto* operator()(int token) noexcept {
    if constexpr (in_pages) {
      if (static_cast<unsigned>(token - first_) >= count_) enter(token);
      return at_ + (token - first_) * step_;
    } else {
      return head_[token].data;
    }
  }

 private:
  static constexpr bool in_pages = requires(Head const& h) { h.page_size(); };
  using pointer = decltype(std::declval<Head const&>()[0].data);

  void enter(int token) noexcept {
    int const size = head_.page_size();
    first_ = size > 1 ? token / size * size : token;
    count_ = static_cast<unsigned>(size);
    at_ = head_[first_].data;
    step_ = size > 1 ? head_[first_ + 1].data - at_ : 0;
  }

  Head head_;
  int first_ = 0;  // token of the page
  unsigned count_ = 0;
  pointer at_ = nullptr;
  std::ptrdiff_t step_ = 0;  // elements
};

/// at[i * apart] = the address of row begin + i of a head, for all of [begin, end).
template <class Head, class T>
void look_up(Head const& head, int begin, int end, T const** at, int apart) noexcept {
  auto const next = [&] { return std::exchange(at, at + apart); };
  if constexpr (requires { head.page_size(); }) {
    int const size = head.page_size();
    for (int t = begin; t < end;) {
      int const here = std::min(end - t, size - t % size);
      auto const* const first = head[t].data;
      std::ptrdiff_t const step = here > 1 ? head[t + 1].data - first : 0;
      for (int i = 0; i < here; ++i) *next() = first + i * step;
      t += here;
    }
  } else {
    for (int t = begin; t < end; ++t) *next() = head[t].data;
  }
}

/// Rows [begin, end) of a head: where they are, or, where their values are scattered, where copies of them are.
template <kv_plane P>
class row_table {
 public:
  using value_type = typename P::value_type;

  explicit row_table(std::pmr::memory_resource* memory) : rows_(memory), copies_(memory) {}

  /// `of` at most so many rows, each in one piece, allocates nothing.
  void reserve(int rows) { rows_.reserve(static_cast<std::size_t>(rows)); }

  template <class Head>
  value_type const* const* of(Head const& head, int head_dim, int begin, int end) {
    rows_.resize(static_cast<std::size_t>(end - begin));
    if constexpr (has_whole_rows<P>) {
      detail::look_up(head, begin, end, rows_.data(), 1);
    } else {
      auto const dim = static_cast<std::size_t>(head_dim);
      copies_.resize(rows_.size() * dim);
      for (std::size_t i = 0; i < rows_.size(); ++i) {
        auto const r = head[begin + static_cast<int>(i)];
        value_type* const copy = copies_.data() + i * dim;
        for (int d = 0; d < head_dim; ++d) copy[d] = r[d];
        rows_[i] = copy;
      }
    }
    return rows_.data();
  }

 private:
  std::pmr::vector<value_type const*> rows_;
  std::pmr::vector<value_type> copies_;
};

/// Rows by their addresses, for plain kernels.
template <class T>
struct pointed_rows {
  T const* const* at;
  int dim;

  row<T const> operator[](int i) const noexcept { return {at[i], dim}; }
};

/// Cuts the tokens of every head into pieces of at most `most`, so that there is work for more threads than heads.
class head_pieces {
 public:
  template <class P>
  head_pieces(P const& rows, int most, std::pmr::memory_resource* memory)
      : head_pieces(rows, 0, rows.heads(), most, memory) {}

  /// Those of heads [first, last). The heads of a layer take turns: where their rows lie side by side, they come from
  /// memory together.
  template <class P>
  head_pieces(P const& rows, int first, int last, int most, std::pmr::memory_resource* memory) : pieces_(memory) {
    int const together = std::max(1, rows.heads_per_layer());
    for (int layer = first; layer < last; layer += together) {
      int const end = std::min(layer + together, last);
      int longest = 0;
      for (int h = layer; h < end; ++h) longest = std::max(longest, rows.tokens(h));
      for (int begin = 0; begin < longest; begin += most) {
        for (int h = layer; h < end; ++h) {
          if (begin < rows.tokens(h)) pieces_.push_back({h, begin, std::min(begin + most, rows.tokens(h))});
        }
      }
    }
  }

  struct piece {
    int head;
    int begin;  // token
    int end;
  };
  int count() const noexcept { return static_cast<int>(pieces_.size()); }
  piece operator[](int i) const noexcept { return pieces_[static_cast<std::size_t>(i)]; }

 private:
  std::pmr::vector<piece> pieces_;
};

}  // namespace tightkv::detail
