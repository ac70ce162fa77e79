// SPDX-License-Identifier: Apache-2.0
/// Heads through matrices: tiles of sums in registers, and pairs of `bfloat16` where the machine multiplies them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <type_traits>
#include <vector>

#include <tightkv/core/half.hpp>
#include <tightkv/cpu/products.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/scratch.hpp>
#include <tightkv/ops/project_heads.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/project_heads.inl>
#include <tightkv/cpu/targets/each.inl>

#if defined(TIGHTKV_X86_64_V4)
#include <tightkv/cpu/targets/begin_x86_64_v4_bf16.inl>
namespace tightkv::detail::x86_64_v4 {
#include <tightkv/cpu/kernels/bfloat16_projection.inl>
}  // namespace tightkv::detail::x86_64_v4
#include <tightkv/cpu/targets/end.inl>
#endif

namespace tightkv {
namespace detail {
inline namespace TIGHTKV_KERNELS_FOR {

/// The matrices of a projection: as they are, or, if all their numbers are bfloat16, as pairs of them.
class projection_matrices {
 public:
  projection_matrices(matrix_view<float const> const& matrices, int inputs, instruction_set set,
                      std::pmr::memory_resource* memory)
      : given_(matrices), inputs_(inputs), set_(set), pairs_(0, memory), memory_(memory) {}

  bool in_pairs() const noexcept { return pairs_.size() > 0; }
  /// Columns of a result, of which the last may count for nothing.
  int cols() const noexcept { return in_pairs() ? (given_.cols + 15) / 16 * 16 : given_.cols; }

  /// Packs pairs, where that loses nothing.
  template <class E>
  void try_pairs(E const& ex) {
#if defined(TIGHTKV_X86_64_V4)
    constexpr int piece = 32;  // rows
    int const padded = (given_.cols + 15) / 16 * 16;
    pairs_ = scratch<float>(static_cast<std::size_t>(given_.rows / 2) * static_cast<std::size_t>(padded), memory_);
    std::atomic<bool> exact = true;
    ex.for_each_index((given_.rows + piece - 1) / piece, [&](int i) {
      int const first = i * piece;
      if (exact &&
          !pack_pairs(x86_64_v4::vectors{}, given_.row(first), given_.stride, std::min(piece, given_.rows - first),
                      given_.cols, pairs_.data() + std::ptrdiff_t{first / 2} * padded, padded)) {
        exact = false;
      }
    });
    if (!exact) pairs_ = scratch<float>(0, memory_);
#else
    static_cast<void>(ex);
#endif
  }

  /// out (count x cols()) = rows times matrix m. Rows of pairs have each in the place of a float.
  void multiply(float const* const* rows, int count, int m, float* out) const {
    std::ptrdiff_t const first = std::ptrdiff_t{m} * inputs_;
#if defined(TIGHTKV_X86_64_V4)
    if (in_pairs()) {
      return project_rows(x86_64_v4::vectors{}, x86_64_v4::pair_tiles{}, rows, count, inputs_ / 2,
                          pairs_.data() + first / 2 * cols(), cols(), cols(), out);
    }
#endif
    with_vectors(set_, [&](auto set) {
      project_rows(set, float_tiles_of(set), rows, count, inputs_, given_.row(static_cast<int>(first)), given_.stride,
                   given_.cols, out);
    });
  }

 private:
  matrix_view<float const> given_;
  int inputs_;
  instruction_set set_;
  scratch<float> pairs_;
  std::pmr::memory_resource* memory_;
};

/// Rows of heads that become one: where they are, if they lie side by side and are what is multiplied, else copied.
template <class From>
class rows_side_by_side {
 public:
  rows_side_by_side(From const& from, int together, projection_matrices const& matrices, instruction_set set,
                    std::pmr::memory_resource* memory)
      : from_(from),
        together_(together),
        in_pairs_(matrices.in_pairs()),
        set_(set),
        memory_(memory),
        table_(memory),
        rows_(memory),
        copies_(0, memory) {}

  /// Tokens [begin, end) of the heads from `first` on.
  float const* const* of(int first, int begin, int end) {
    int const dim = from_.head_dim();
    rows_.clear();
    if (!lie_side_by_side(first, begin, end)) {
      std::ptrdiff_t const stride = std::ptrdiff_t{together_} * dim / (in_pairs_ ? 2 : 1);
      copies_ = scratch<float>(static_cast<std::size_t>((end - begin) * stride), memory_);
      for (int n = 0; n < together_; ++n) {
        auto const* const at = table_.of(from_.head(first + n), dim, begin, end);
        copy(at, end - begin, n * (stride / together_), stride);
      }
      rows_.clear();
      for (int t = begin; t < end; ++t) rows_.push_back(copies_.data() + (t - begin) * stride);
    }
    return rows_.data();
  }

 private:
  using value_type = typename From::value_type;

  bool lie_side_by_side(int first, int begin, int end) {
    constexpr bool may_be_pairs = std::is_same_v<value_type, bfloat16>;
    if (!has_whole_rows<From> || !(std::is_same_v<value_type, float> || (may_be_pairs && in_pairs_))) return false;
    for (int n = 0; n < together_; ++n) {
      auto const* const at = table_.of(from_.head(first + n), from_.head_dim(), begin, end);
      for (std::size_t t = 0; t < static_cast<std::size_t>(end - begin); ++t) {
        auto const* const row = reinterpret_cast<float const*>(at[t] - n * from_.head_dim());
        if (n == 0) rows_.push_back(row);
        if (rows_[t] != row) return false;
      }
    }
    return true;
  }

  void copy(value_type const* const* at, int count, std::ptrdiff_t offset, std::ptrdiff_t stride) {
    int const dim = from_.head_dim();
    if (!in_pairs_) {
      return with_vectors(set_, [&](auto set) { unpack_rows(set, at, count, dim, copies_.data() + offset, stride); });
    }
    for (int t = 0; t < count; ++t)
      std::memcpy(copies_.data() + t * stride + offset, at[t], static_cast<std::size_t>(dim) * sizeof(value_type));
  }

  From const& from_;
  int together_;
  bool in_pairs_;
  instruction_set set_;
  std::pmr::memory_resource* memory_;
  row_table<From> table_;
  std::pmr::vector<float const*> rows_;
  scratch<float> copies_;
};

/// Whether packing pairs may pay: rows are bfloat16, and many meet each matrix.
template <class From, class To>
bool wants_pairs(From const& from, To const& to, int matrices, instruction_set set) {
  constexpr std::int64_t worth_packing = 64;  // rows
  if (!std::is_same_v<typename From::value_type, bfloat16> || !multiplies_bfloat16(set)) return false;
  std::int64_t rows = 0;
  for (int h = 0; h < to.heads(); ++h) rows += to.tokens(h);
  return from.head_dim() % 2 == 0 && rows >= worth_packing * matrices;
}

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace detail

template <class F>
struct kernel<project_heads_fn, basic_cpu<F>> {
  template <class From, class To>
  static void run(basic_cpu<F> const& ex, From const& from, matrix_view<float const> const& matrices, To const& to) {
    if (ex.instructions() == instruction_set::none) {
      return kernel<project_heads_fn, basic_plain_cpu<F>>::run(ex, from, matrices, to);
    }
    using element = typename To::value_type;
    // A multiple of the rows that any instruction set has registers for; so few that C libraries keep their memory.
    constexpr int piece_rows = 24;
    int const together = from.heads() / to.heads();
    int const inputs = together * from.head_dim();
    int const heads_per_matrix = to.heads() / (matrices.rows / inputs);
    detail::projection_matrices factors(matrices, inputs, ex.instructions(), ex.resource());
    if (detail::wants_pairs(from, to, matrices.rows / inputs, ex.instructions())) factors.try_pairs(ex);
    detail::head_pieces const pieces(to, piece_rows, ex.resource());
    ex.for_each_index(pieces.count(), [&](int i) {
      auto const piece = pieces[i];
      int const count = piece.end - piece.begin;
      detail::rows_side_by_side rows(from, together, factors, ex.instructions(), ex.resource());
      detail::scratch<float> const results(static_cast<std::size_t>(count * factors.cols()), ex.resource());
      factors.multiply(rows.of(piece.head * together, piece.begin, piece.end), count, piece.head / heads_per_matrix,
                       results.data());
      auto const out = to.head(piece.head);
      float const* result = results.data();
      for (int t = piece.begin; t < piece.end; ++t, result += factors.cols()) {
        auto const row = out[t];
        if constexpr (detail::has_whole_rows<To>) {
          detail::with_vectors(ex.instructions(), [&](auto set) { round_row(set, result, to.head_dim(), row.data); });
        } else {
          for (int c = 0; c < to.head_dim(); ++c) row[c] = element(result[c]);
        }
      }
    });
  }
};

}  // namespace tightkv
