// SPDX-License-Identifier: Apache-2.0
/// What a merger sees of the heads it makes one of.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <tightkv/mergers/attention_shape.hpp>
#include <tightkv/mergers/gram.hpp>
#include <tightkv/view/layouts.hpp>

namespace tightkv {

/// The rows of a group of t heads, side by side, as a Gram matrix of t head_dim channels.
///
/// For keys with RoPE these are the rows as they are cached, after it: the commuting mergers see the same numbers
/// before and after, since all heads of a token are turned alike.
struct group_statistics {
  int heads = 1;
  gram rows;

  int head_dim() const noexcept { return rows.size() / heads; }
};

/// A group, and what its rows are multiplied with: `uses` holds, one below the other, a head_dim x head_dim Gram matrix
/// per head. For keys these are the queries, for values it is W_O.
struct observed_group : group_statistics {
  matrix<double> uses;
};

namespace detail {

inline void check_group(char const* who, group_statistics const& g) {
  expects(g.heads >= 1 && g.rows.size() >= 1 && g.rows.size() % g.heads == 0, who,
          "the group's channels must be a multiple of its heads", "channels", g.rows.size(), "heads", g.heads);
  expects(g.rows.rows().added >= 1, who, "the statistics must be of at least one row", "rows", g.rows.rows().added);
}

inline void check_observed(char const* who, observed_group const& g) {
  check_group(who, g);
  expects(g.uses.rows() == g.rows.size() && g.uses.cols() == g.head_dim(), who,
          "what rows are multiplied with must be a head_dim x head_dim matrix per head", "rows", g.uses.rows(), "cols",
          g.uses.cols());
}

}  // namespace detail

/// The group's part of the sums over a whole layer, `kv_heads` heads side by side.
///
///     auto const group = tightkv::group_of(all_keys, 8, {0, 1, 2, 3});
///
/// Throws `bad_argument` for a head that the layer does not have, and for channels that are not a multiple of its
/// heads.
inline group_statistics group_of(gram const& layer, int kv_heads, std::vector<int> const& heads) {
  detail::expects(kv_heads >= 1 && layer.size() >= 1 && layer.size() % kv_heads == 0, "group_of",
                  "the layer's channels must be a multiple of its heads", "channels", layer.size(), "heads", kv_heads);
  detail::expects(!heads.empty(), "group_of", "a group needs at least one head");
  int const dim = layer.size() / kv_heads;
  std::vector<int> channels;
  for (int const h : heads) {
    detail::expects(h >= 0 && h < kv_heads, "group_of", "the layer has no such head", "head", h, "heads", kv_heads);
    for (int d = 0; d < dim; ++d) channels.push_back(h * dim + d);
  }
  auto const size = channels.size();
  matrix<double> products(static_cast<int>(size), static_cast<int>(size));
  std::vector<double> sums(size);
  for (std::size_t a = 0; a < size; ++a) {
    for (std::size_t b = 0; b < size; ++b) {
      products(static_cast<int>(a), static_cast<int>(b)) = layer.products()(channels[a], channels[b]);
    }
    sums[a] = layer.sums()[static_cast<std::size_t>(channels[a])];
  }
  return {static_cast<int>(heads.size()), gram(std::move(products), std::move(sums), layer.rows())};
}

/// The same, with what the rows are multiplied with; `uses` has a matrix per KV head of the layer (see `query_uses`,
/// `output_uses`).
inline observed_group group_of(gram const& layer, int kv_heads, std::vector<int> const& heads,
                               matrix<double> const& uses) {
  observed_group result{group_of(layer, kv_heads, heads), {}};
  int const dim = result.head_dim();
  detail::expects(uses.rows() == layer.size() && uses.cols() == dim, "group_of",
                  "what rows are multiplied with must be a head_dim x head_dim matrix per head of the layer", "rows",
                  uses.rows(), "cols", uses.cols());
  result.uses = matrix<double>(result.rows.size(), dim);
  for (int i = 0; i < result.heads; ++i) {
    for (int a = 0; a < dim; ++a) {
      int const from = heads[static_cast<std::size_t>(i)] * dim + a;
      for (int b = 0; b < dim; ++b) result.uses(i * dim + a, b) = uses(from, b);
    }
  }
  return result;
}

/// For keys: the Gram matrices of the queries of each KV head, summed over the query heads that use it.
inline matrix<double> query_uses(std::span<gram const> queries_of_each_kv_head) {
  detail::expects(!queries_of_each_kv_head.empty(), "query_uses", "needs the queries of at least one head");
  int const dim = queries_of_each_kv_head[0].size();
  matrix<double> uses(static_cast<int>(queries_of_each_kv_head.size()) * dim, dim);
  int row = 0;
  for (auto const& g : queries_of_each_kv_head) {
    detail::expects(g.size() == dim, "query_uses", "all queries must have the same head_dim", "head_dim", g.size(),
                    "first", dim);
    for (int a = 0; a < dim; ++a, ++row) {
      for (int b = 0; b < dim; ++b) uses(row, b) = g.products()(a, b);
    }
  }
  return uses;
}

/// For values: W_O,i^T W_O,i of each KV head, summed over the query heads that use it. `output` is W_O with a row per
/// output feature: hidden x (query_heads x value_dim).
inline matrix<double> output_uses(matrix_view<float const> output, attention_shape const& shape) {
  detail::check_attention("output_uses", shape);
  detail::expects(output.data != nullptr && output.cols == shape.query_heads * shape.value_dim, "output_uses",
                  "W_O must have a column per channel of the query heads", "cols", output.cols, "channels",
                  shape.query_heads * shape.value_dim);
  auto const bytes = detail::bytes_of<float>(1);
  strided const layout{.heads = shape.query_heads,
                       .tokens = output.rows,
                       .head_stride = bytes * shape.value_dim,
                       .token_stride = bytes * output.stride};
  std::vector<gram> of_each(static_cast<std::size_t>(shape.kv_heads), gram(shape.value_dim));
  for (int q = 0; q < shape.query_heads; ++q) {
    of_each[static_cast<std::size_t>(q / shape.group_size())].add(
        plain_cpu{}, plane(output.data, layout, shape.value_dim), {.first = q});
  }
  for (auto const& g : of_each) {
    detail::expects(g.rows().not_finite == 0, "output_uses", "W_O must be finite", "rows that are not",
                    g.rows().not_finite);
  }
  return query_uses(of_each);
}

/// The statistics of white inputs: what SVD on weights (SVD-w) looks at. `weight` is W_K or W_V with a row per output
/// feature: (kv_heads x head_dim) x hidden. Gives W W^T, as if the columns were calibration rows.
inline gram weight_gram(matrix_view<float const> weight) {
  auto const bytes = detail::bytes_of<float>(1);
  gram result(weight.rows);
  strided const layout{.heads = 1, .tokens = weight.cols, .head_stride = 0, .token_stride = bytes};
  result.add(plain_cpu{}, plane(weight.data, layout, weight.rows, grouped{.size = 1, .stride = bytes * weight.stride}));
  detail::expects(result.rows().not_finite == 0, "weight_gram", "weights must be finite", "columns that are not",
                  result.rows().not_finite);
  return result;
}

}  // namespace tightkv
