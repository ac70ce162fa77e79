// SPDX-License-Identifier: Apache-2.0
/// One layer's cache for tests of policies and methods: its numbers, and the memory of an imagined engine they lie in.
/// Not everything is defined here: one file of a test family includes `layer_definitions.hpp`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iosfwd>
#include <vector>

#include <tightkv/core/half.hpp>
#include <tightkv/view/kv_view.hpp>
#include <tightkv/view/layouts.hpp>

namespace tests {

struct layer_shape {
  int kv_heads = 2;
  int group = 1;  // query heads per KV head
  int tokens = 40;
  int head_dim = 64;
  unsigned seed = 1;
};

/// Numbers by head, token and channel.
struct tensor {
  int heads = 0;
  int tokens = 0;
  int head_dim = 1;
  std::vector<float> data = std::vector<float>(static_cast<std::size_t>(heads * tokens * head_dim));

  float& operator()(int h, int t, int d) { return data[index(h, t, d)]; }
  float operator()(int h, int t, int d) const { return data[index(h, t, d)]; }
  /// Heads [first, first + count).
  tensor some(int first, int count) const;

 private:
  std::size_t index(int h, int t, int d) const { return static_cast<std::size_t>((h * tokens + t) * head_dim + d); }
};

/// The rows of one head, written out.
tensor rows_of(int head_dim, std::vector<float> data);

/// Keys, values and queries of every token.
struct layer {
  tensor keys;
  tensor values;
  tensor queries;

  int tokens() const { return keys.tokens; }
  int group() const { return keys.heads == 0 ? 1 : queries.heads / keys.heads; }
  /// KV head h with its query heads, alone.
  layer only(int h) const;
};

/// A layer of one head; values and queries are zeros where there are none.
layer layer_of(tensor keys, tensor values = {}, tensor queries = {});
/// Bell-shaped numbers that float, half and bfloat16 all hold exactly, so that all three must give the same results.
layer random_layer(layer_shape const& s);

enum class element_type { f32, f16, bf16 };
enum class arrangement { hnd, nhd, paged_hnd, paged_nhd, transposed };

template <class T>
using dense = tightkv::plane<T>;
template <class T>
using paged = tightkv::plane<T, tightkv::paged>;
template <class T>
using transposed = tightkv::plane<T, tightkv::strided, tightkv::grouped>;
template <class Keys, class Values>
using view_of = tightkv::kv_view<Keys, Values, dense<typename Keys::value_type const>>;

/// Which planes keys and values lie in. They need not be of one kind: each of layout and element type is in the list,
/// and each pair of them, but a policy is compiled for five views only.
enum class planes { floats, half_keys_transposed_values, paged_keys_dense_values, transposed_keys_paged_values, mixed };
using floats_view = view_of<dense<float>, dense<float>>;
using half_keys_transposed_values_view = view_of<dense<tightkv::half>, transposed<tightkv::half>>;
using paged_keys_dense_values_view = view_of<paged<tightkv::bfloat16>, dense<tightkv::bfloat16>>;
using transposed_keys_paged_values_view = view_of<transposed<float>, paged<tightkv::half>>;
using mixed_view = view_of<paged<float>, transposed<tightkv::bfloat16>>;

/// How a cache lies in memory, and how large its rows and groups are.
struct memory_case {
  planes kind = planes::floats;
  bool heads_inside = false;  // nhd rather than hnd, within pages too
  int head_dim = 64;
  int group = 1;

  friend std::ostream& operator<<(std::ostream& out, memory_case const& c);
};

/// Every pair of (planes, head_dim, group), in 25 cases.
std::vector<memory_case> pairwise_cases();

/// The memory of one plane, where whatever holds no row is NaN.
struct plane_memory {
  arrangement layout = arrangement::hnd;
  element_type type = element_type::f32;
  tightkv::kv_shape shape;  // with the tokens there is room for
  std::vector<int> pages;
  std::vector<std::byte> bytes;

  plane_memory(arrangement l, element_type t, tightkv::kv_shape const& s);
  float read(int h, int t, int d) const;
  void write(int h, int t, int d, float x);
  template <class Plane>
  Plane rows(int tokens);

 private:
  std::size_t offset(int h, int t, int d) const;
};

/// An engine's memory: keys and values, queries of the newest tokens, and the position of every row.
class engine_memory {
 public:
  /// Room for all tokens of `content`, whose first `tokens` are in the cache already.
  engine_memory(layer content, memory_case const& how, int tokens);
  explicit engine_memory(layer const& content, memory_case const& how = {});

  int heads() const { return content_.keys.heads; }
  int tokens() const { return tokens_; }  // rows of each head now
  int seen() const { return seen_; }      // tokens that have arrived so far
  layer const& content() const { return content_; }

  /// The next `count` tokens of the sequence arrive; the view has their queries, and those of `more_queries` before.
  void append(int count, int more_queries = 0);
  /// What an engine does after a compression.
  void set_tokens(int tokens) {
    if (tokens != tokens_) queries_in_view_ = 0;
    tokens_ = tokens;
  }

  float key(int h, int t, int d) const { return keys_.read(h, t, d); }
  float value(int h, int t, int d) const { return values_.read(h, t, d); }
  /// The positions of one head's rows.
  std::vector<int> positions(int h) const;
  /// Positions as a plane whose rows can be moved.
  dense<std::byte> position_rows(int tokens);
  dense<std::byte> position_rows() { return position_rows(tokens_); }

  /// Whether all that a compression may change is the same.
  friend bool same_bytes(engine_memory const& a, engine_memory const& b) {
    return a.keys_.bytes == b.keys_.bytes && a.values_.bytes == b.values_.bytes && a.positions_ == b.positions_;
  }

  template <class View>
  View as();
  floats_view float_view() { return as<floats_view>(); }

  /// Calls `f` with a view of the cache.
  template <class F>
  void visit(F const& f) {
    switch (kind_) {
      case planes::floats:
        return f(as<floats_view>());
      case planes::half_keys_transposed_values:
        return f(as<half_keys_transposed_values_view>());
      case planes::paged_keys_dense_values:
        return f(as<paged_keys_dense_values_view>());
      case planes::transposed_keys_paged_values:
        return f(as<transposed_keys_paged_values_view>());
      case planes::mixed:
        return f(as<mixed_view>());
    }
  }

 private:
  tightkv::kv_shape room() const;

  layer content_;
  planes kind_;
  int tokens_ = 0;
  int seen_ = 0;
  int queries_in_view_ = 0;
  plane_memory keys_;
  plane_memory values_;
  std::vector<std::byte> queries_;
  std::vector<int> positions_;
};

}  // namespace tests
