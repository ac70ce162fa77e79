// SPDX-License-Identifier: Apache-2.0
/// The same rows in every layout.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include <support/placements.hpp>
#include <support/rows.hpp>

namespace tests {

/// The bytes of rows in some placement. All bytes that are not theirs are 0xff, which as a number is NaN.
inline std::vector<std::byte> laid_out(placement const& where, rows const& r) {
  std::vector<std::byte> memory(static_cast<std::size_t>(where.size() * where.bytes), std::byte{0xff});
  for (int h = 0; h < r.heads(); ++h) {
    for (int t = 0; t < r.length(h); ++t) {
      for (int d = 0; d < r.head_dim; ++d) {
        std::memcpy(memory.data() + where.index(h, t, d) * where.bytes, r.at(h, t, d), r.element_bytes);
      }
    }
  }
  return memory;
}

/// Rows in memory, in some placement. Out of line, as is all that a layout's many users can share.
class stored {
 public:
  [[gnu::noinline]] stored(std::unique_ptr<placement> where, rows const& r)
      : where_(std::move(where)), memory_(laid_out(*where_, r)) {}
  [[gnu::noinline]] ~stored() = default;
  stored(stored const&) = delete;

  placement& where() { return *where_; }
  std::byte* data() { return memory_.data(); }
  std::vector<std::byte> const& memory() const { return memory_; }

 private:
  std::unique_ptr<placement> where_;
  std::vector<std::byte> memory_;
};

template <class Layout>
[[gnu::noinline]] std::unique_ptr<placement> make_placement(rows const& r) {
  return std::make_unique<Layout>(r, r.element_bytes);
}

/// Rows in memory, in a layout.
template <class Layout>
struct cache : stored {
  explicit cache(rows const& r) : stored(make_placement<Layout>(r), r) {}
  template <class T>
  auto plane() {
    return static_cast<Layout&>(where()).plane(reinterpret_cast<T*>(data()));
  }
};

/// Four heads: of 29 tokens, or where a layout allows it of 17 and 29.
inline extents usual_extents(bool varied, int head_dim) {
  return varied ? extents{{17, 17, 29, 29}, head_dim} : extents{{29, 29, 29, 29}, head_dim};
}

template <class Layout>
struct layout_tag {
  using type = Layout;
};

using all_layouts =
    std::tuple<layout_tag<hnd_layout>, layout_tag<nhd_layout>, layout_tag<strided_layout>,
               layout_tag<transposed_layout>, layout_tag<paged_nhd_layout>, layout_tag<paged_hnd_layout>,
               layout_tag<cells_layout>, layout_tag<transposed_cells_layout>, layout_tag<grouped_layout>,
               layout_tag<tables_per_head_layout>, layout_tag<page_pointers_layout>, layout_tag<packed_layout>,
               layout_tag<batch_layout>>;

/// Calls `f(layout_tag<L>{})` for each layout L.
template <class F>
void for_each_layout(F const& f) {
  std::apply([&](auto... tags) { (f(tags), ...); }, all_layouts{});
}

}  // namespace tests
