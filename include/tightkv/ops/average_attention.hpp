// SPDX-License-Identifier: Apache-2.0
/// `average_attention(ex, mass, parameters, out)`: accumulated attention, made comparable between old and new tokens.
#pragma once

#include <span>

#include <tightkv/core/config.hpp>
#include <tightkv/core/error.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>

namespace tightkv {

/// How accumulated attention is compared: as a sum, or divided by the number of queries that could see the token, which
/// takes away the old tokens' head start.
enum class attention_average { sum, per_visible_query };

/// For the first `lengths[h]` tokens of each head, out(h, t) = mass(h, t), or
///
///     out(h, t) = mass(h, t) / (arrived[h] - numbers(h, t))
///
/// as token n of a sequence of which `arrived` tokens have come was seen by the queries from its own on.
template <class Memory>
struct average_attention_parameters {
  matrix_view<int const, Memory> numbers{};
  std::span<int const> lengths{};
  std::span<int const> arrived{};
  attention_average average = attention_average::sum;
};

struct average_attention_fn {
  template <executor E>
  void operator()(E const& ex, matrix_view<float const, typename E::memory> mass,
                  average_attention_parameters<typename E::memory> const& p, scores_view<E> out) const {
    detail::expects(mass.rows == out.rows && p.numbers.rows == out.rows &&
                        static_cast<int>(p.lengths.size()) == out.rows && p.arrived.size() == p.lengths.size(),
                    "average_attention", "needs sums, numbers and lengths of each head", "heads", out.rows, "sums",
                    mass.rows);
    for (int const length : p.lengths) {
      bool const inside = 0 <= length && length <= mass.cols && length <= p.numbers.cols && length <= out.cols;
      detail::expects(inside, "average_attention", "a length must lie within the scores", "length", length);
    }
    kernel<average_attention_fn, E>::run(ex, mass, p, out);
  }
};
inline constexpr average_attention_fn average_attention{};

namespace detail {

TIGHTKV_HD inline float averaged(attention_average how, float mass, int queries) noexcept {
  return how == attention_average::sum ? mass : mass / static_cast<float>(queries);
}

}  // namespace detail

template <class F>
struct kernel<average_attention_fn, basic_plain_cpu<F>> {
  static void run(basic_plain_cpu<F> const& ex, matrix_view<float const> mass,
                  average_attention_parameters<host_memory> const& p, matrix_view<float> out) {
    ex.for_each_index(out.rows, [&](int h) {
      auto const i = static_cast<std::size_t>(h);
      for (int t = 0; t < p.lengths[i]; ++t)
        out(h, t) = detail::averaged(p.average, mass(h, t), p.arrived[i] - p.numbers(h, t));
    });
  }
};

template <class F>
struct kernel<average_attention_fn, basic_cpu<F>> : kernel<average_attention_fn, basic_plain_cpu<F>> {};

}  // namespace tightkv
