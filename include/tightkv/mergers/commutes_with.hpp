// SPDX-License-Identifier: Apache-2.0
/// Whether a projection may be applied before RoPE as well as after it.
#pragma once

#include <tightkv/mergers/attention_shape.hpp>
#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {
namespace detail {

/// One frequency of a group of heads: the pair of channels of each head, as complex numbers z in C^t.
struct rotary_pair {
  int real;  // the channel within a head
  int imaginary;
  int head_dim;

  int re(int head) const noexcept { return head * head_dim + real; }
  int im(int head) const noexcept { return head * head_dim + imaginary; }
};

/// Whether a matrix that rows are multiplied with turns pairs into pairs, as complex numbers.
inline bool commutes(matrix<double> const& m, int heads, rotary const& turned) {
  int const dim = m.rows() / heads;
  auto const pair_of = [&](int channel) {
    if (channel >= turned.channels) return -1;
    return turned.pairs == rotary_pairs::half_split ? channel % turned.frequencies() : channel / 2;
  };
  for (int a = 0; a < m.rows(); ++a) {
    for (int c = 0; c < dim; ++c) {
      if (pair_of(a % dim) != pair_of(c) && m(a, c) != 0) return false;
    }
  }
  for (int i = 0; i < heads; ++i) {
    for (int f = 0; f < turned.frequencies(); ++f) {
      rotary_pair const pair{turned.real(f), turned.imaginary(f), dim};
      if (m(pair.re(i), pair.real) != m(pair.im(i), pair.imaginary)) return false;
      if (m(pair.im(i), pair.real) != -m(pair.re(i), pair.imaginary)) return false;
    }
  }
  return true;
}

}  // namespace detail

/// Whether projecting before or after RoPE is the same for every position.
inline bool commutes_with(head_projection const& p, rotary const& turned) {
  detail::check_projection("commutes_with", p);
  detail::check_rotary("commutes_with", turned, p.head_dim());
  if (turned.channels == 0) return true;
  return p.rank() == p.head_dim() && detail::commutes(p.down, p.heads, turned) &&
         detail::commutes(p.up, p.heads, turned);
}

}  // namespace tightkv
