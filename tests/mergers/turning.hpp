// SPDX-License-Identifier: Apache-2.0
/// RoPE, in double.
#pragma once

#include <cmath>
#include <cstddef>

#include <mergers/sample.hpp>
#include <tightkv/mergers/attention_shape.hpp>

namespace tests {

/// A position for each token that looks like none: far apart, in no order.
inline int scattered(int token, int salt = 0) { return (token * 7919 + salt * 104729) % 4093; }

/// Turns one head's channels by the position.
template <class Row>
void turn(Row&& row, int first, int position, tightkv::rotary const& r) {
  for (int f = 0; f < r.frequencies(); ++f) {
    double const angle = position * std::pow(10000.0, -2.0 * f / r.channels);
    double const re = static_cast<double>(row(first + r.real(f)));
    double const im = static_cast<double>(row(first + r.imaginary(f)));
    using number = std::remove_reference_t<decltype(row(0))>;
    row(first + r.real(f)) = static_cast<number>(re * std::cos(angle) - im * std::sin(angle));
    row(first + r.imaginary(f)) = static_cast<number>(re * std::sin(angle) + im * std::cos(angle));
  }
}

/// All heads of each row, at scattered positions.
inline numbers turned(numbers rows, tightkv::rotary const& r, int head_dim, int salt = 0) {
  for (int t = 0; t < rows.rows(); ++t) {
    for (int first = 0; first < rows.cols(); first += head_dim) {
      turn([&](int c) -> float& { return rows(t, c); }, first, scattered(t, salt), r);
    }
  }
  return rows;
}

}  // namespace tests
