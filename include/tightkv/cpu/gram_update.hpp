// SPDX-License-Identifier: Apache-2.0
/// Gram matrices at the speed of a matrix product: tiles of sums in registers, half of the products computed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <vector>

#include <tightkv/cpu/products.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/ops/gram_update.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/gram_update.inl>
#include <tightkv/cpu/targets/each.inl>

namespace tightkv {
namespace detail {

/// Some tokens of a group of heads as floats, side by side, in panels of 48 channels.
class packed_rows {
 public:
  static constexpr int width = 48;
  static constexpr int most = 256;  // tokens at once: 48 KiB a panel
  static constexpr int piece = 32;  // tokens that are packed together

  packed_rows(int size, instruction_set set, std::pmr::memory_resource* memory)
      : size_(size), set_(set), memory_(memory), panels_(static_cast<std::size_t>(count()) * stride, memory) {}

  int count() const noexcept { return (size_ + width - 1) / width; }

  /// Packs tokens [begin, end) of the group into places [begin - first, end - first). Returns how many are not finite.
  template <class P>
  int pack(P const& rows, head_range const& group, int first, int begin, int end) {
    int const dim = rows.head_dim();
    auto const padded = static_cast<std::size_t>((size_ + 15) / 16 * 16);
    std::pmr::vector<float> as_floats(padded * static_cast<std::size_t>(end - begin), memory_);
    row_table<P> table(memory_);
    for (int h = 0; h < group.heads; ++h) {
      auto const* const at = table.of(rows.head(group.first + h), dim, begin, end);
      float* const to = as_floats.data() + h * dim;
      with_vectors(set_,
                   [&](auto set) { unpack_rows(set, at, end - begin, dim, to, static_cast<std::ptrdiff_t>(padded)); });
    }
    int lost = 0;
    with_vectors(set_, [&](auto set) {
      lost =
          pack_panels(set, as_floats.data(), end - begin, static_cast<int>(padded), static_cast<std::ptrdiff_t>(padded),
                      panels_.data() + std::ptrdiff_t{begin - first} * width, stride);
    });
    return lost;
  }

  /// Adds the products of `tokens` tokens with the channels of panel p.
  void add_panel_of(int p, int tokens, gram_view<> const& out) const {
    with_vectors(set_, [&](auto set) {
      add_panel(set, panels_.data(), stride, tokens, p, size_, out.products.data, out.products.stride);
      add_sums(set, panels_.data(), stride, tokens, p, size_, out.sums);
    });
  }

 private:
  static constexpr std::ptrdiff_t stride = std::ptrdiff_t{most} * width;

  int size_;
  instruction_set set_;
  std::pmr::memory_resource* memory_;
  std::pmr::vector<float> panels_;
};

}  // namespace detail

template <class F>
struct kernel<gram_update_fn, basic_cpu<F>> {
  template <class P>
  static void run(basic_cpu<F> const& ex, P const& rows, head_range const& group, gram_view<> const& out) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<gram_update_fn, basic_plain_cpu<F>>::run(ex, rows, group, out);
    }
    using detail::packed_rows;
    int const tokens = rows.tokens(group.first);
    std::int64_t not_finite = 0;
    packed_rows packed(out.products.rows, ex.instructions(), ex.resource());
    for (int first = group.skip; first < tokens; first += packed_rows::most) {
      int const end = std::min(first + packed_rows::most, tokens);
      int const pieces = (end - first + packed_rows::piece - 1) / packed_rows::piece;
      std::int64_t lost[packed_rows::most / packed_rows::piece] = {};
      ex.for_each_index(pieces, [&](int i) {
        int const begin = first + i * packed_rows::piece;
        lost[i] = packed.pack(rows, group, first, begin, std::min(begin + packed_rows::piece, end));
      });
      for (auto const n : lost) not_finite += n;
      // The last panel meets the most channels: it goes first.
      ex.for_each_index(packed.count(), [&](int i) { packed.add_panel_of(packed.count() - 1 - i, end - first, out); });
    }
    detail::mirror(out.products);
    out.counted->added += std::max(0, tokens - group.skip) - not_finite;
    out.counted->not_finite += not_finite;
  }
};

}  // namespace tightkv
