// SPDX-License-Identifier: Apache-2.0
/// What a method looks at: keys, usually values, and for some methods the queries of the newest tokens.
#pragma once

#include <algorithm>
#include <concepts>

#include <tightkv/core/matrix.hpp>
#include <tightkv/view/plane.hpp>

namespace tightkv {

/// Stands for a plane that is not there.
struct absent {};

namespace detail {

/// True of what says that it is in that memory, or does not say.
template <class X, class Memory>
concept lies_with = !requires {
  typename X::memory;
}
|| std::same_as<typename X::memory, Memory>;

}  // namespace detail

/// A cache as the methods see it. Keys and values are independent planes: other dtype, strides, head_dim; values may be
/// absent (MLA). `queries` are those of the last tokens, after RoPE like the keys: one head per query head, query head
/// q using KV head `q / (query heads / KV heads)`, the last row belonging to the last token. `row_lse`, where an engine
/// has it, is the log-sum-exp of each of those queries' attention logits, query heads x queries.
///
///     tightkv::kv_view view{keys, values};
///     tightkv::kv_view observed{keys, values, queries};
///
/// Throws `bad_argument` when heads or lengths do not match. What a method needs is a concept on the view, so giving
/// SnapKV a view without queries does not compile.
template <kv_plane Keys, class Values = absent, class Queries = absent, class RowLse = absent>
class kv_view {
 public:
  using memory = typename Keys::memory;
  static_assert(detail::lies_with<Values, memory> && detail::lies_with<Queries, memory> &&
                    detail::lies_with<RowLse, memory>,
                "tightkv: all parts of a view must be in the same memory");

  Keys keys;
  Values values;
  Queries queries;
  RowLse row_lse;

  explicit kv_view(Keys k, Values v = {}, Queries q = {}, RowLse lse = {})
      : keys(k), values(v), queries(q), row_lse(lse) {
    if constexpr (kv_plane<Values>) check_values();
    if constexpr (kv_plane<Queries>) check_queries();
    if constexpr (!std::same_as<RowLse, absent>) check_row_lse();
  }

  int heads() const noexcept { return keys.heads(); }
  int heads_per_layer() const noexcept { return keys.heads_per_layer(); }
  int tokens(int head) const noexcept { return keys.tokens(head); }

 private:
  void check_values() const {
    detail::expects(values.heads() == heads(), "kv_view", "keys and values must have the same number of heads", "keys",
                    heads(), "values", values.heads());
    for (int h = 0; h < heads(); ++h) {
      detail::expects(values.tokens(h) == tokens(h), "kv_view", "keys and values must have the same number of tokens",
                      "keys", tokens(h), "values", values.tokens(h));
    }
  }

  void check_queries() const {
    detail::expects(queries.head_dim() == keys.head_dim(), "kv_view", "queries and keys must have the same head_dim",
                    "queries", queries.head_dim(), "keys", keys.head_dim());
    bool const grouped = heads() > 0 && queries.heads() >= heads() && queries.heads() % heads() == 0;
    detail::expects(grouped || (heads() == 0 && queries.heads() == 0), "kv_view",
                    "query heads must be a multiple of KV heads", "query_heads", queries.heads(), "kv_heads", heads());
    for (int q = 0; q < queries.heads(); ++q) {
      int const h = q / (queries.heads() / heads());
      detail::expects(queries.tokens(q) <= tokens(h), "kv_view", "there cannot be more queries than tokens", "queries",
                      queries.tokens(q), "tokens", tokens(h));
    }
  }

  void check_row_lse() const {
    static_assert(kv_plane<Queries>, "tightkv: row_lse belongs to queries");
    detail::expects(row_lse.rows == queries.heads() && row_lse.cols >= longest(queries), "kv_view",
                    "row_lse must be query heads x queries", "rows", row_lse.rows, "cols", row_lse.cols);
  }
};

/// A view with readable keys.
template <class V>
concept view_with_keys = requires(V const& v) {
  typename V::memory;
  { v.heads() } -> std::same_as<int>;
  { v.heads_per_layer() } -> std::same_as<int>;
  { v.tokens(0) } -> std::same_as<int>;
}
&&readable_plane<decltype(V::keys)>;

/// A view with readable keys and values.
template <class V>
concept view_with_values = view_with_keys<V> && readable_plane<decltype(V::values)>;

/// A view with readable keys and the queries of the last tokens.
template <class V>
concept view_with_queries = view_with_keys<V> && readable_plane<decltype(V::queries)>;

/// A view that also has the log-sum-exp of each query's logits.
template <class V>
concept view_with_row_lse = view_with_queries<V> && !std::same_as<decltype(V::row_lse), absent>;

/// Query heads that share one KV head.
template <view_with_queries V>
int group_size(V const& view) noexcept {
  return view.heads() == 0 ? 1 : view.queries.heads() / view.heads();
}

}  // namespace tightkv
