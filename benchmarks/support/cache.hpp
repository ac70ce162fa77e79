// SPDX-License-Identifier: Apache-2.0
/// The caches that are timed: keys and values of one layer, in more copies than a processor's cache can hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include <support/memory.hpp>
#include <tightkv/view/kv_view.hpp>
#include <tightkv/view/layouts.hpp>

namespace bench {

/// 256 MiB of random elements, one for all benchmarks of a program: a block of 64 MiB, four times.
template <class T>
class arena {
 public:
  static constexpr std::size_t copies = 4;
  static constexpr std::size_t block = (std::size_t{64} << 20U) / sizeof(T);

  static arena const& shared() {
    static arena const one;
    return one;
  }

  T* data() const noexcept { return elements_.data(); }
  std::size_t size() const noexcept { return elements_.size(); }
  /// All elements as they were at first.
  void restore() const {
    for (std::size_t i = 0; i < copies; ++i) std::memcpy(data() + i * block, original_.data(), original_.bytes());
  }

 private:
  arena() : original_(block), elements_(copies * block) {
    for (std::size_t i = 0; i < block; ++i) original_[i] = T(random_number(i));
    restore();
  }

  huge_array<T> original_;
  huge_array<T> elements_;
};

/// `[head][token][head_dim]`.
struct dense {
  template <class T>
  static auto plane(T* data, tightkv::kv_shape const& s) {
    return tightkv::hnd(data, s);
  }
};

/// 16 tokens to a page, pages in no order.
struct pages {
  static constexpr int page_size = 16;

  static auto table(int tokens) {
    static std::map<int, std::vector<int>> tables;
    int const count = tokens / page_size;
    auto& table = tables[count];
    if (table.empty()) {
      table.resize(static_cast<std::size_t>(count));
      std::iota(table.begin(), table.end(), 0);
      std::shuffle(table.begin(), table.end(), std::mt19937(7));
    }
    return tightkv::block_table(table.data(), count, page_size);
  }
};

/// `[page][token][head][head_dim]`.
struct paged_nhd {
  template <class T>
  static auto plane(T* data, tightkv::kv_shape const& s) {
    return tightkv::paged_nhd(data, s, pages::table(s.tokens));
  }
};
/// `[page][head][token][head_dim]`.
struct paged_hnd {
  template <class T>
  static auto plane(T* data, tightkv::kv_shape const& s) {
    return tightkv::paged_hnd(data, s, pages::table(s.tokens));
  }
};

/// What "heads", "tokens" and "head_dim" of a benchmark say.
inline tightkv::kv_shape shape_of(benchmark::State const& state) {
  return {.heads = static_cast<int>(state.range(0)),
          .tokens = static_cast<int>(state.range(1)),
          .head_dim = static_cast<int>(state.range(2))};
}

/// One layer's keys and values after another.
template <class T, class Layout = dense>
class caches {
 public:
  explicit caches(tightkv::kv_shape const& s)
      : shape(s),
        elements_(static_cast<std::size_t>(s.heads) * static_cast<std::size_t>(s.tokens) *
                  static_cast<std::size_t>(s.head_dim)) {}

  /// Steps to the next; false when all have had their turn, and it is the first again.
  bool advance() noexcept {
    bool const more = at_ + 4 * elements_ <= arena_.size();
    at_ = more ? at_ + 2 * elements_ : 0;
    return more;
  }
  T* keys() const { return arena_.data() + at_; }
  T* values() const { return keys() + elements_; }
  /// As many elements again that were not looked at for long: somewhere to write to.
  T* elsewhere() const { return arena_.data() + (at_ + arena_.size() / 2) % arena_.size(); }
  auto view() const { return view_of(keys()); }
  /// The same rows as in the first cache, elsewhere: to compare with, as long as nobody changed them.
  auto copy_of_first() const { return view_of(arena_.data() + arena<T>::block); }
  void restore() const { arena_.restore(); }

  std::size_t elements() const noexcept { return elements_; }           // of the keys, or of the values
  std::size_t bytes() const noexcept { return elements_ * sizeof(T); }  // the same
  int tokens() const noexcept { return shape.heads * shape.tokens; }    // of all heads

  tightkv::kv_shape shape;

 private:
  auto view_of(T* first) const {
    return tightkv::kv_view{Layout::template plane<T>(first, shape),
                            Layout::template plane<T>(first + elements_, shape)};
  }

  arena<T> const& arena_ = arena<T>::shared();
  std::size_t elements_;
  std::size_t at_ = 0;
};

}  // namespace bench
