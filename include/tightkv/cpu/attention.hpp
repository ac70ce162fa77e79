// SPDX-License-Identifier: Apache-2.0
/// The products of queries with the keys of a head. Queries lie in the lanes of vectors, so that keys are read where
/// they are, and sums over the keys need no sums across lanes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <type_traits>

#include <tightkv/core/arithmetic.hpp>
#include <tightkv/cpu/products.hpp>
#include <tightkv/cpu/row_table.hpp>
#include <tightkv/cpu/scratch.hpp>
#include <tightkv/cpu/vectors.hpp>
#include <tightkv/ops/attention_rows.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/attention.inl>
#include <tightkv/cpu/targets/each.inl>

#if defined(TIGHTKV_X86_64_V4)
#include <tightkv/cpu/targets/begin_x86_64_v4_bf16.inl>
namespace tightkv::detail::x86_64_v4 {
#include <tightkv/cpu/kernels/bfloat16_products.inl>
}  // namespace tightkv::detail::x86_64_v4
#include <tightkv/cpu/targets/end.inl>
#endif

namespace tightkv::detail {
inline namespace TIGHTKV_KERNELS_FOR {

inline int whole_vectors(int count) noexcept { return (count + 15) / 16 * 16; }

inline constexpr float log2_e = 1.44269504F;

/// What products of queries and keys are multiplied with, since 2^x is quicker than e^x.
inline float logit_scale(int head_dim) { return log2_e / std::sqrt(static_cast<float>(head_dim)); }

/// Writes query i of query head q to `out`, scaled. Returns whether it is finite.
template <class V>
bool scaled_query(V const& view, instruction_set set, int q, int i, float* out) {
  auto const row = view.queries.head(q)[i];
  float const scale = logit_scale(row.size);
  bool finite = true;
  if constexpr (has_whole_rows<decltype(V::queries)>) {
    with_vectors(set, [&](auto chosen) { finite = scale_row(chosen, row.data, row.size, scale, out); });
  } else {
    for (int d = 0; d < row.size; ++d) out[d] = static_cast<float>(row[d]) * scale;
    finite = all_finite(row);
  }
  return finite;
}

/// Writes it as it is.
template <class V>
bool whole_query(V const& view, instruction_set set, int q, int i, float* out) {
  auto const row = view.queries.head(q)[i];
  std::int32_t finite = 0;
  if constexpr (has_whole_rows<decltype(V::queries)>) {
    std::memcpy(out, row.data, static_cast<std::size_t>(row.size) * sizeof *row.data);
    with_vectors(set, [&](auto chosen) { mark_finite(chosen, &row.data, 1, row.size, &finite); });
  }
  return finite != 0;
}

/// How the channels of queries and keys are multiplied: as floats, or as pairs of bfloat16, each in the place of a
/// float.
enum class products { of_floats, of_pairs };

/// Views whose channels may be multiplied in pairs: nothing of that is compiled for others.
template <class V>
concept may_be_pairs = std::is_same_v<typename decltype(V::keys)::value_type, bfloat16> &&
    std::is_same_v<typename decltype(V::queries)::value_type, bfloat16> && has_whole_rows<decltype(V::keys)> &&
    has_whole_rows<decltype(V::queries)>;

template <class V>
products products_for(V const& view, instruction_set set) noexcept {
  constexpr int whole = 8;  // channels that are packed at once
  bool const fit = may_be_pairs<V> && view.keys.head_dim() % whole == 0;
  return fit && multiplies_bfloat16(set) ? products::of_pairs : products::of_floats;
}

/// The keys of one head, side by side: where they are, if they are that, or copies as floats.
class key_rows {
 public:
  template <class V>
  key_rows(V const& view, int h, instruction_set set, std::pmr::memory_resource* memory)
      : key_rows(view, h, set, products_for(view, set), memory) {}

  template <class V>
  key_rows(V const& view, int h, instruction_set set, products kind, std::pmr::memory_resource* memory)
      : kind_(kind),
        head_dim_(view.keys.head_dim()),
        dim_(kind_ == products::of_pairs ? head_dim_ / 2 : head_dim_),
        set_(set),
        tokens_(view.tokens(h)),
        finite_(static_cast<std::size_t>(padded()), memory),
        copies_(0, memory) {
    std::fill(finite_.begin(), finite_.end(), -1);
    if constexpr (has_whole_rows<decltype(V::keys)>) in_place_ = find(view.keys.head(h));
    if (in_place_) return;
    copies_ = {static_cast<std::size_t>(padded()) * static_cast<std::size_t>(dim_), memory};
    std::fill(copies_.begin() + index(tokens_), copies_.end(), 0.0F);
    rows_ = copies_.data();
  }

  int dim() const noexcept { return dim_; }  // floats that a row takes
  int tokens() const noexcept { return tokens_; }
  int padded() const noexcept { return whole_vectors(tokens_ + at_once - 1); }
  std::int32_t const* finite() const noexcept { return finite_.data(); }

  /// Copies keys [begin, end) that cannot stay where they are: before they are multiplied, and once.
  template <class P>
  void prepare(P const& keys, int head, int begin, int end, std::pmr::memory_resource* memory) {
    if (in_place_) return;
    row_table<P> table(memory);
    auto const* const at = table.of(keys.head(head), head_dim_, begin, end);
    if (kind_ == products::of_floats) {
      with_vectors(set_, [&](auto set) {
        unpack_rows(set, at, end - begin, head_dim_, copies_.data() + index(begin), head_dim_);
      });
      return;
    }
    for (int j = begin; j < end; ++j)
      std::memcpy(copies_.data() + index(j), at[j - begin], static_cast<std::size_t>(head_dim_) * sizeof **at);
  }

  /// Finds out which of keys [begin, end) are finite. All are taken to be: a key that is not shows in its products.
  template <class P>
  void judge(P const& keys, int head, int begin, int end, std::pmr::memory_resource* memory) {
    row_table<P> table(memory);
    auto const* const at = table.of(keys.head(head), head_dim_, begin, end);
    with_vectors(set_, [&](auto set) { mark_finite(set, at, end - begin, head_dim_, finite_.data() + begin); });
  }

  /// Writes query i of query head q as `multiply` wants it. Returns whether it is finite.
  template <class V>
  bool write_query(V const& view, int q, int i, float* out) const {
    if constexpr (may_be_pairs<V>) {
      if (kind_ == products::of_pairs) return whole_query(view, set_, q, i, out);
    }
    return scaled_query(view, set_, q, i, out);
  }

  /// Multiplies keys [begin, end) of a view with a panel of queries.
  template <int Vectors, class V, class Set, class Seen>
  void multiply(Set set, V const&, int begin, int end, float const* panel, float* logits, Seen& seen) const {
    constexpr int step = Set::panel_keys;
    constexpr int width = 16 * Vectors;
    with_products<V>(set, [&](auto const& products) {
      int const more = (end - begin) % step;
      int const whole = end - begin - more;
      multiply_keys<Vectors>(set, products, row(begin), whole, row(tokens_), panel, logits, seen);
      if (more == 0) return;
      // The last few are multiplied with those before them, or with zeros that follow copies.
      int const skipped = in_place_ ? step - more : 0;
      float of_last[step * width];
      multiply_keys<Vectors>(set, products, row(end - more - skipped), step, row(tokens_), panel, of_last, seen);
      std::copy_n(of_last + skipped * width, more * width, logits + whole * width);
    });
  }

 protected:
  instruction_set set() const noexcept { return set_; }
  float const* row(int token) const noexcept { return rows_ + index(token); }

 private:
  static constexpr int at_once = 6;  // keys, on any machine

  std::ptrdiff_t index(int token) const noexcept { return static_cast<std::ptrdiff_t>(token) * dim_; }

  /// Finds rows that can stay where they are.
  template <class Head>
  bool find(Head const& rows) {
    using value_type = std::remove_cvref_t<decltype(*rows[0].data)>;
    constexpr bool of_floats = std::is_same_v<value_type, float>;
    if (tokens_ < at_once || (!of_floats && kind_ != products::of_pairs)) return false;
    row_finder<Head> find(rows);
    auto const* const first = find(0);
    for (int j = 1; j < tokens_; ++j) {
      if (find(j) != first + std::ptrdiff_t{j} * head_dim_) return false;
    }
    rows_ = reinterpret_cast<float const*>(first);
    return true;
  }

  /// Calls `f` with what multiplies such keys.
  template <class V, class Set, class F>
  void with_products(Set set, F const& f) const {
#if defined(TIGHTKV_X86_64_V4)
    if constexpr (may_be_pairs<V> && std::is_same_v<Set, x86_64_v4::vectors>) {
      if (kind_ == products::of_pairs) return f(x86_64_v4::bfloat16_products{dim_, logit_scale(head_dim_)});
    }
#endif
    f(float_products_of(set, dim_));
  }

  products kind_;
  int head_dim_;
  int dim_;
  instruction_set set_;
  int tokens_;
  bool in_place_ = false;
  float const* rows_ = nullptr;
  scratch<std::int32_t> finite_;
  scratch<float> copies_;
};

}  // namespace TIGHTKV_KERNELS_FOR
}  // namespace tightkv::detail
