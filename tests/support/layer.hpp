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

/// How a cache lies in memory, and how large its rows and groups are.
struct memory_case {
  arrangement layout = arrangement::hnd;
  element_type type = element_type::f32;
  int head_dim = 64;
  int group = 1;

  friend std::ostream& operator<<(std::ostream& out, memory_case const& c);
};

/// Every pair of (layout, element type, head_dim, group), in 25 cases.
std::vector<memory_case> pairwise_cases();

using byte_rows = tightkv::plane<std::byte>;

template <class Plane, class T>
using view_of = tightkv::kv_view<Plane, Plane, tightkv::plane<T const>>;
template <class T>
using dense_view = view_of<tightkv::plane<T>, T>;
template <class T>
using paged_view = view_of<tightkv::plane<T, tightkv::paged>, T>;
template <class T>
using transposed_view = view_of<tightkv::plane<T, tightkv::strided, tightkv::grouped>, T>;

/// An engine's memory: keys and values in some layout, queries of the newest tokens, and the position of every row.
/// Whatever holds no row is NaN.
class engine_memory {
 public:
  /// Room for all tokens of `content`, whose first `tokens` are in the cache already.
  engine_memory(layer content, memory_case const& how, int tokens);
  explicit engine_memory(layer const& content, memory_case const& how = {});

  int heads() const { return heads_; }
  int tokens() const { return tokens_; }  // rows of each head now
  int seen() const { return seen_; }      // tokens that have arrived so far
  layer const& content() const { return content_; }

  /// The next `count` tokens of the sequence arrive; the view has their queries, and those of `more_queries` before.
  void append(int count, int more_queries = 0);
  /// What an engine does after a compression.
  void set_tokens(int tokens) { tokens_ = tokens; }

  float key(int h, int t, int d) const { return read(keys_, offset(h, t, d)); }
  float value(int h, int t, int d) const { return read(values_, offset(h, t, d)); }
  int position(int h, int t) const { return positions_[static_cast<std::size_t>(h * room_ + t)]; }
  /// The positions of one head's rows.
  std::vector<int> positions(int h) const;

  /// Positions as a plane whose rows can be moved.
  byte_rows position_rows(int tokens);
  byte_rows position_rows() { return position_rows(tokens_); }

  /// Whether all that a compression may change is the same.
  friend bool same_bytes(engine_memory const& a, engine_memory const& b) {
    return a.keys_ == b.keys_ && a.values_ == b.values_ && a.positions_ == b.positions_;
  }

  /// The view of floats in a dense layout.
  dense_view<float> float_view() { return dense<float>(); }

  /// Calls `f` with a view of the cache.
  template <class F>
  void visit(F const& f) {
    if (type_ == element_type::f32) return visit_as<float>(f);
    if (type_ == element_type::f16) return visit_as<tightkv::half>(f);
    return visit_as<tightkv::bfloat16>(f);
  }

 private:
  static constexpr int page_size = 4;

  int pool_pages() const { return (room_ + page_size - 1) / page_size + 2; }
  std::size_t offset(int h, int t, int d) const;
  void write(std::vector<std::byte>& to, std::size_t i, float x) const;
  float read(std::vector<std::byte> const& from, std::size_t i) const;

  // Made in `layer_definitions.hpp`, so that each is compiled once.
  template <class T>
  tightkv::plane<T const> queries();
  template <class T>
  dense_view<T> dense();
  template <class T>
  paged_view<T> paged();
  template <class T>
  transposed_view<T> transposed();

  template <class T, class F>
  void visit_as(F const& f) {
    if (layout_ == arrangement::transposed) {
      f(transposed<T>());
    } else if (layout_ == arrangement::hnd || layout_ == arrangement::nhd) {
      f(dense<T>());
    } else {
      f(paged<T>());
    }
  }
  tightkv::kv_shape shape() const {
    return {.heads = heads_, .tokens = tokens_, .head_dim = head_dim_, .capacity = room_};
  }

  layer content_;
  arrangement layout_;
  element_type type_;
  int heads_;
  int head_dim_;
  int room_;
  int tokens_ = 0;
  int seen_ = 0;
  int queries_in_view_ = 0;
  std::vector<std::byte> keys_;
  std::vector<std::byte> values_;
  std::vector<std::byte> queries_;
  std::vector<int> positions_;
  std::vector<int> pages_;
};

}  // namespace tests
