// SPDX-License-Identifier: Apache-2.0
/// Merging keys by what commutes with RoPE: everything fuses into the weights, any GQA engine runs the result.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

#include <tightkv/mergers/commutes_with.hpp>
#include <tightkv/mergers/eigen_pairs.hpp>
#include <tightkv/mergers/head_projection.hpp>
#include <tightkv/mergers/kq_svd.hpp>
#include <tightkv/mergers/svd_heads.hpp>

namespace tightkv {
namespace detail {

/// The sum of z z^H, head i's z times weights[i], as a real matrix: (a, -b; b, a) for each entry a + ib.
inline dense hermitian(gram const& rows, rotary_pair const& pair, std::vector<double> const& weights) {
  auto const heads = static_cast<int>(weights.size());
  auto const x = rows.products();
  dense m(2 * heads, 2 * heads);
  for (int i = 0; i < heads; ++i) {
    for (int j = 0; j < heads; ++j) {
      double const w = weights[static_cast<std::size_t>(i)] * weights[static_cast<std::size_t>(j)];
      double const a = w * (x(pair.re(i), pair.re(j)) + x(pair.im(i), pair.im(j)));
      double const b = w * (x(pair.im(i), pair.re(j)) - x(pair.re(i), pair.im(j)));
      m(i, j) = m(heads + i, heads + j) = a;
      m(heads + i, j) = b;
      m(i, heads + j) = -b;
    }
  }
  return m;
}

/// Multiplication of a pair by the conjugate of (re + i im), written into a matrix that rows are multiplied with.
inline void put_conjugate(matrix<double>& m, rotary_pair const& pair, int head, double re, double im) {
  m(pair.re(head), pair.real) = m(pair.im(head), pair.imaginary) = re;
  m(pair.im(head), pair.real) = im;
  m(pair.re(head), pair.imaginary) = -im;
}

/// Merges one frequency, of which head i weighs `weights[i]`. Returns what is lost, weighted.
template <class Gram>
double merge_pair(Gram const& rows, rotary_pair const& pair, std::vector<double> const& weights,
                  head_projection& into) {
  auto const heads = weights.size();
  auto const pairs = eigen_pairs_of(hermitian(rows, pair, weights));
  auto const u = [&](std::size_t i) { return std::pair(pairs.vectors(i, 0), pairs.vectors(heads + i, 0)); };

  // down = w conj(u) and up = u / w; its scale makes down a unit vector, its phase the largest entry of down positive.
  double squares = 0;
  std::size_t largest = 0;
  auto const size = [&](std::size_t i) { return weights[i] * std::hypot(u(i).first, u(i).second); };
  for (std::size_t i = 0; i < heads; ++i) {
    squares += size(i) * size(i);
    if (size(i) > size(largest)) largest = i;
  }
  double const length = std::sqrt(squares);
  auto const [re, im] = u(largest);
  double const norm = std::hypot(re, im);
  for (std::size_t i = 0; i < heads; ++i) {
    auto const [a, b] = u(i);
    double const turned_re = (a * re + b * im) / norm;
    double const turned_im = (b * re - a * im) / norm;
    auto const head = static_cast<int>(i);
    put_conjugate(into.down, pair, head, turned_re * weights[i] / length, turned_im * weights[i] / length);
    put_conjugate(into.up, pair, head, turned_re / weights[i] * length, turned_im / weights[i] * length);
  }
  return pairs.tail(2) / 2;  // as a real matrix it has each eigenvalue twice
}

/// A group without the channels that RoPE turns.
inline observed_group without_rotary(group_statistics const& group, matrix<double> const& uses, rotary const& turned) {
  int const dim = group.head_dim();
  int const rest = dim - turned.channels;
  auto const old = [&](int channel) { return channel / rest * dim + turned.channels + channel % rest; };
  int const size = group.heads * rest;
  matrix<double> products(size, size);
  matrix<double> uses_of_rest(uses.empty() ? 0 : size, rest);
  std::vector<double> sums(static_cast<std::size_t>(size));
  for (int a = 0; a < size; ++a) {
    for (int b = 0; b < size; ++b) products(a, b) = group.rows.products()(old(a), old(b));
    for (int b = 0; b < rest && !uses.empty(); ++b) uses_of_rest(a, b) = uses(old(a), turned.channels + b);
    sums[static_cast<std::size_t>(a)] = group.rows.sums()[static_cast<std::size_t>(old(a))];
  }
  return {{group.heads, gram(std::move(products), std::move(sums), group.rows.rows())}, std::move(uses_of_rest)};
}

/// The projection of the channels that RoPE leaves alone, put where they are.
inline void put_rest(head_projection const& rest, rotary const& turned, head_projection& into) {
  int const dim = into.head_dim();
  int const of_rest = rest.head_dim();
  for (int a = 0; a < rest.down.rows(); ++a) {
    int const to = a / of_rest * dim + turned.channels + a % of_rest;
    for (int c = 0; c < of_rest; ++c) {
      into.down(to, turned.channels + c) = rest.down(a, c);
      into.up(to, turned.channels + c) = rest.up(a, c);
    }
  }
}

inline head_projection no_projection(group_statistics const& group) {
  int const dim = group.head_dim();
  return {group.heads, matrix<double>(group.rows.size(), dim), matrix<double>(group.rows.size(), dim), {}, {}};
}

}  // namespace detail

/// RoPE turns the pair of channels of one frequency alike in all heads, so as complex numbers z in C^t it commutes with
/// any combination of heads. Per frequency f the leading eigenvector u_f of the sum of z z^H is kept:
/// k'_f = sum over i of conj(u_i) k_i, and q'_i = conj(u_i) q_i.
///
///     tightkv::commuting_heads{.rotary = {64, tightkv::rotary_pairs::interleaved}}.merge(group);
///
/// Minimises ||K - K'||_F^2 among those combinations; rank is head_dim. Channels that RoPE leaves alone (partial
/// rotary) are merged by `svd_heads`. Sees the same in keys before and after RoPE. Throws `bad_argument` as `svd_heads`
/// does. Cost: head_dim / 2 eigenproblems of 2 t.
struct commuting_heads {
  tightkv::rotary rotary;

  head_projection merge(std::derived_from<group_statistics> auto const& group) const {
    detail::check_group("commuting_heads", group);
    detail::check_rotary("commuting_heads", rotary, group.head_dim());
    auto result = detail::no_projection(group);
    result.predicted.total = detail::trace(group.rows);
    std::vector<double> const equal(static_cast<std::size_t>(group.heads), 1.0);
    for (int f = 0; f < rotary.frequencies(); ++f) {
      detail::rotary_pair const pair{rotary.real(f), rotary.imaginary(f), group.head_dim()};
      result.predicted.lost += detail::merge_pair(group.rows, pair, equal, result);
    }
    if (rotary.channels < group.head_dim()) {
      auto const rest = svd_heads{}.merge(detail::without_rotary(group, {}, rotary));
      detail::put_rest(rest, rotary, result);
      result.predicted.lost += rest.predicted.lost;
    }
    return result;
  }
};
static_assert(merger<commuting_heads>);

/// The same, where head i's pair at frequency f weighs as much as the queries that meet it: w^2 is half the sum of
/// |q_{i,f}|^2. Minimises the sum of w^2 |k - k'|^2, which is the expected squared error of scores where positions have
/// nothing to do with each other. Channels that RoPE leaves alone are merged by `kq_svd`. A pair that its queries
/// hardly touch (below 1e-6 of the most) weighs 1e-6 of the most.
struct commuting_query_heads {
  tightkv::rotary rotary;

  head_projection merge(std::derived_from<observed_group> auto const& group) const {
    detail::check_observed("commuting_query_heads", group);
    detail::check_rotary("commuting_query_heads", rotary, group.head_dim());
    auto result = detail::no_projection(group);
    for (int f = 0; f < rotary.frequencies(); ++f) {
      detail::rotary_pair const pair{rotary.real(f), rotary.imaginary(f), group.head_dim()};
      auto const weights = weights_of(group, pair);
      result.predicted.lost += detail::merge_pair(group.rows, pair, weights, result);
      for (int i = 0; i < group.heads; ++i) {
        double const w = weights[static_cast<std::size_t>(i)];
        double const squares =
            group.rows.products()(pair.re(i), pair.re(i)) + group.rows.products()(pair.im(i), pair.im(i));
        result.predicted.total += w * w * squares;
      }
    }
    if (rotary.channels < group.head_dim()) {
      auto const rest = kq_svd{}.merge(detail::without_rotary(group, group.uses, rotary));
      detail::put_rest(rest, rotary, result);
      result.predicted += rest.predicted;
    }
    return result;
  }

 private:
  static std::vector<double> weights_of(observed_group const& group, detail::rotary_pair const& pair) {
    std::vector<double> weights;
    for (int i = 0; i < group.heads; ++i) {
      double const squares = group.uses(pair.re(i), pair.real) + group.uses(pair.im(i), pair.imaginary);
      weights.push_back(std::sqrt(std::max(0.0, squares / 2)));
    }
    double const most = *std::max_element(weights.begin(), weights.end());
    for (double& w : weights) w = most > 0 ? std::max(w, 1e-6 * most) : 1;
    return weights;
  }
};
static_assert(merger<commuting_query_heads>);

}  // namespace tightkv
