// SPDX-License-Identifier: Apache-2.0
#include "block.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>

#include <tightkv/ops/project_heads.hpp>
#include <tightkv/view/layouts.hpp>

#include "linear.hpp"

namespace engine {
namespace {

using tightkv::matrix_view;
using floats = Eigen::Map<Eigen::ArrayXf>;
using const_floats = Eigen::Map<Eigen::ArrayXf const>;

/// Work on single rows is shared out by the dozen.
template <class F>
void for_each_row(thread_pool& pool, int rows, F&& f) {
  int const at_once = 16;
  pool.run((rows + at_once - 1) / at_once, [&](int task) {
    for (int r = task * at_once; r < std::min(rows, (task + 1) * at_once); ++r) f(r);
  });
}

/// `gate = silu(gate) * up`
void gated(thread_pool& pool, matrix_view<float> gate, matrix_view<float const> up) {
  for_each_row(pool, gate.rows, [&](int r) {
    floats g(gate.row(r), gate.cols);
    g = g / (1.0F + (-g).exp()) * const_floats(up.row(r), gate.cols);
  });
}

/// Rows of a matrix whose columns are (head, head_dim), as the library sees them.
template <class T>
auto heads_of(matrix_view<T> const& m, int first, int count, int head_dim) {
  return tightkv::nhd(m.row(first), {.heads = m.cols / head_dim, .tokens = count, .head_dim = head_dim});
}

struct projection {
  weight const& matrices;
  int from_dim;
  int to_dim;
};

/// Every row's heads through the matrices, a few rows at a time.
void project_rows(thread_pool& pool, projection const& p, matrix_view<float const> from, matrix_view<float> to) {
  int const at_once = 16;
  pool.run((from.rows + at_once - 1) / at_once, [&](int task) {
    int const first = task * at_once;
    int const count = std::min(at_once, from.rows - first);
    tightkv::project_heads(tightkv::cpu{}, heads_of(from, first, count, p.from_dim), p.matrices.view(),
                           heads_of(to, first, count, p.to_dim));
  });
}

}  // namespace

void rms_norm(thread_pool& pool, matrix_view<float const> from, std::vector<float> const& scale, float epsilon,
              matrix_view<float> to) {
  for_each_row(pool, from.rows, [&](int r) {
    const_floats const x(from.row(r), from.cols);
    floats(to.row(r), from.cols) =
        x * (1.0F / std::sqrt(x.square().mean() + epsilon)) * const_floats(scale.data(), from.cols);
  });
}

block::block(hyper_parameters const& shape, thread_pool& pool, int rows)
    : s_(shape),
      pool_(pool),
      turns_({s_.rope_dimensions, s_.rope_base}),
      normed_(rows, s_.width),
      change_(rows, s_.width),
      queries_(rows, s_.query_heads * s_.key_dim),
      keys_(rows, s_.key_heads * s_.key_dim),
      values_(rows, s_.kv_heads * s_.head_dim),
      attended_(rows, s_.query_heads * s_.value_dim()),
      gate_(rows, s_.feed_forward),
      up_(rows, s_.feed_forward) {
  if (!s_.merges_at_run_time) return;
  merged_queries_ = tightkv::matrix<float>(rows, s_.query_heads * s_.head_dim);
  merged_keys_ = tightkv::matrix<float>(rows, s_.kv_heads * s_.head_dim);
}

void block::project(layer_weights const& w, activations state) {
  merged_ = false;
  rms_norm(pool_, state, w.attention_norm, s_.rms_epsilon, normed_.view());
  linear(pool_, w.query, normed_.view(), queries_.view());
  linear(pool_, w.key, normed_.view(), keys_.view());
  linear(pool_, w.value, normed_.view(), values_.view());
}

void block::turn() {
  for_each_row(pool_, queries_.rows(), [&](int r) {
    for (int h = 0; h < s_.query_heads; ++h) turns_.turn(r, queries_.view().row(r) + h * s_.key_dim);
    for (int h = 0; h < s_.key_heads; ++h) turns_.turn(r, keys_.view().row(r) + h * s_.key_dim);
  });
}

void block::merge(layer_weights const& w) {
  if (!s_.merges_at_run_time) return;
  project_rows(pool_, {w.key_merge, s_.key_dim, s_.head_dim}, keys_.view(), merged_keys_.view());
  project_rows(pool_, {w.query_merge, s_.key_dim, s_.head_dim}, queries_.view(), merged_queries_.view());
  merged_ = true;
}

void block::add_attention(layer_weights const& w, matrix_view<float> state) {
  linear(pool_, w.attention_output, attended_.view(), change_.view());
  add_change(state);
}

void block::add_feed_forward(layer_weights const& w, matrix_view<float> state) {
  rms_norm(pool_, state, w.feed_forward_norm, s_.rms_epsilon, normed_.view());
  linear(pool_, w.gate, normed_.view(), gate_.view());
  linear(pool_, w.up, normed_.view(), up_.view());
  gated(pool_, gate_.view(), up_.view());
  linear(pool_, w.down, gate_.view(), change_.view());
  add_change(state);
}

void block::add_change(matrix_view<float> state) {
  for_each_row(pool_, state.rows,
               [&](int r) { floats(state.row(r), state.cols) += const_floats(change_.view().row(r), state.cols); });
}

}  // namespace engine
