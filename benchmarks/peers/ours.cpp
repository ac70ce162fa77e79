// SPDX-License-Identifier: Apache-2.0
/// What `peers/` measures of ours, as functions that Python calls: each does its work once, on memory that Python
/// owns, and returns how many milliseconds that took.
#include <algorithm>
#include <vector>

#include <tightkv/ops/gram_update.hpp>
#include <tightkv/ops/project_heads.hpp>
#include <tightkv/tightkv.hpp>

#include "threads.hpp"

namespace {

/// As `ours.py` has it: keys and values [heads][capacity][head_dim], queries [query_heads][window][head_dim].
struct layer {
  void* keys;
  void* values;
  void const* queries;
  float const* row_lse;  // [query_heads][window], or null
  int heads, tokens, capacity, head_dim, query_heads, window;
  int type;  // 0 float, 1 half, 2 bfloat16
  int threads;
};

auto executor(int threads) { return tightkv::basic_cpu{tightkv::on_pool{peers::pool_of(threads)}}; }

template <class F>
double milliseconds(layer const& l, F const& f) {
  return peers::milliseconds(peers::pool_of(l.threads), f);
}

template <class T>
auto rows_of(layer const& l, void* data) {
  return tightkv::hnd(static_cast<T*>(data),
                      {.heads = l.heads, .tokens = l.tokens, .head_dim = l.head_dim, .capacity = l.capacity});
}
/// Rows `[tokens][heads][head_dim]`, as a projection leaves them.
template <class T>
auto side_by_side(layer const& l) {
  return tightkv::nhd(static_cast<T const*>(l.keys), {.heads = l.heads, .tokens = l.tokens, .head_dim = l.head_dim});
}
template <class T>
auto queries_of(layer const& l) {
  return tightkv::hnd(static_cast<T const*>(l.queries),
                      {.heads = l.query_heads, .tokens = l.window, .head_dim = l.head_dim});
}

/// Calls `f` with the element type.
template <class F>
double with_type(layer const& l, F const& f) {
  if (l.type == 0) return f(float{});
  if (l.type == 1) return f(tightkv::half{});
  return f(tightkv::bfloat16{});
}

/// Writes the kept tokens, head after head.
void report(tightkv::plan const& p, int* kept) {
  for (int h = 0; h < p.heads(); ++h) kept = std::copy(p.kept(h).begin(), p.kept(h).end(), kept);
}

template <class M, class V>
double compress(layer const& l, M const& method, V const& view, typename M::state& state, int* kept) {
  auto const ex = executor(l.threads);
  tightkv::plan done;
  double const time = milliseconds(l, [&] { done = tightkv::compress(ex, method, view, state).plan; });
  report(done, kept);
  return time;
}
template <class M>
double compress(layer const& l, M const& method, typename M::state state, int* kept) {
  return with_type(l, [&](auto type) {
    using T = decltype(type);
    return compress(l, method, tightkv::kv_view{rows_of<T>(l, l.keys), rows_of<T>(l, l.values)}, state, kept);
  });
}

}  // namespace

extern "C" {

double lag_kv_end_to_end(layer const* l, double keep, int* kept) {
  return compress(*l, tightkv::lag_kv{.keep = {keep}}, {}, kept);
}

double l2_end_to_end(layer const* l, double keep, int* kept) {
  return compress(*l, tightkv::l2_norm{.budget = tightkv::keep_ratio{keep}}, {}, kept);
}

/// A step while decoding, in which tokens from `first` on are not yet judged.
double lag_kv_step(layer const* l, int first, double keep, int* kept) {
  tightkv::lag_kv::state state;
  state.first.assign(static_cast<std::size_t>(l->heads), first);
  return compress(*l, tightkv::lag_kv{.keep = {keep}}, state, kept);
}

/// A step while decoding, or the prompt before; `state` is made at the first.
double h2o_step(layer const* l, int budget, tightkv::h2o::state** state, int* kept) {
  if (*state == nullptr) *state = new tightkv::h2o::state;
  return with_type(*l, [&](auto type) {
    using T = decltype(type);
    tightkv::kv_view const view{rows_of<T>(*l, l->keys), rows_of<T>(*l, l->values), queries_of<T>(*l)};
    return compress(*l, tightkv::h2o{.budget = tightkv::keep_tokens{budget}}, view, **state, kept);
  });
}

double lag_score(layer const* l, float* scores) {
  return with_type(*l, [&](auto type) {
    using T = decltype(type);
    tightkv::kv_view const view{rows_of<T>(*l, l->keys), rows_of<T>(*l, l->values)};
    return milliseconds(*l, [&] {
      tightkv::lag_relative{}.score(executor(l->threads), view, {scores, l->heads, l->tokens});
    });
  });
}

double l2_score(layer const* l, float* scores) {
  return with_type(*l, [&](auto type) {
    tightkv::kv_view const view{rows_of<decltype(type)>(*l, l->keys)};
    return milliseconds(*l, [&] {
      tightkv::key_norm{}.score(executor(l->threads), view, {scores, l->heads, l->tokens});
    });
  });
}

double column_sums(layer const* l, float* sums) {
  return with_type(*l, [&](auto type) {
    using T = decltype(type);
    std::vector<int> const all(static_cast<std::size_t>(l->heads), l->window);
    auto const run = [&](auto const& view) {
      return milliseconds(*l, [&] {
        tightkv::attention_mass(executor(l->threads), view, all, {sums, l->heads, l->tokens});
      });
    };
    std::fill_n(sums, l->heads * l->tokens, 0.0F);
    if (l->row_lse == nullptr) {
      return run(tightkv::kv_view{rows_of<T>(*l, l->keys), tightkv::absent{}, queries_of<T>(*l)});
    }
    tightkv::matrix_view<float const> const lse{l->row_lse, l->query_heads, l->window};
    return run(tightkv::kv_view{rows_of<T>(*l, l->keys), tightkv::absent{}, queries_of<T>(*l), lse});
  });
}

double window_votes(layer const* l, float* scores) {
  return with_type(*l, [&](auto type) {
    using T = decltype(type);
    tightkv::kv_view const view{rows_of<T>(*l, l->keys), tightkv::absent{}, queries_of<T>(*l)};
    return milliseconds(*l, [&] {
      tightkv::window_votes{.window = l->window}.score(executor(l->threads), view, {scores, l->heads, l->tokens});
    });
  });
}

/// The best `count` of each row of `scores` [heads][tokens].
double select_best(layer const* l, float const* scores, int count, int* kept) {
  auto const ex = executor(l->threads);
  tightkv::candidates from(ex.resource());
  for (int h = 0; h < l->heads; ++h) from.add(l->tokens, {}, count);
  tightkv::plan best;
  double const time = milliseconds(*l, [&] {
    best = tightkv::top_k{}.select(ex, tightkv::matrix_view<float const>{scores, l->heads, l->tokens}, from);
  });
  report(best, kept);
  return time;
}

/// Moves rows `kept` [heads][count] to the front.
double compaction(layer const* l, int const* kept, int count) {
  return with_type(*l, [&](auto type) {
    using T = decltype(type);
    std::vector<int> const before(static_cast<std::size_t>(l->heads), l->tokens);
    tightkv::plan plan(before, std::vector<int>(before.size(), count));
    for (int h = 0; h < l->heads; ++h) std::copy_n(kept + h * count, count, plan.kept(h).begin());
    return milliseconds(
        *l, [&] { tightkv::compact(executor(l->threads), plan, rows_of<T>(*l, l->keys), rows_of<T>(*l, l->values)); });
  });
}

/// Adds to the sums of products [heads * head_dim][heads * head_dim] of rows, [tokens][heads][head_dim] here, and to
/// the sums of each channel.
double gram_update(layer const* l, double* products, double* sums) {
  return with_type(*l, [&](auto type) {
    auto const rows = side_by_side<decltype(type)>(*l);
    int const size = l->heads * l->head_dim;
    tightkv::rows_counted counted;
    tightkv::gram_view<> const to{.products = {products, size, size}, .sums = sums, .counted = &counted};
    return milliseconds(*l, [&] { tightkv::gram_update(executor(l->threads), rows, {.heads = l->heads}, to); });
  });
}

/// All heads of rows, [tokens][heads][head_dim] here, into one, [tokens][head_dim].
double project_heads(layer const* l, float const* matrix, void* out) {
  return with_type(*l, [&](auto type) {
    using T = decltype(type);
    auto const to = tightkv::hnd(static_cast<T*>(out), {.heads = 1, .tokens = l->tokens, .head_dim = l->head_dim});
    return milliseconds(*l, [&] {
      tightkv::project_heads(executor(l->threads), side_by_side<T>(*l), {matrix, l->heads * l->head_dim, l->head_dim},
                             to);
    });
  });
}
}
