// SPDX-License-Identifier: Apache-2.0
/// One transformer layer at work on rows of activations, step by step: `forward` takes the steps one after the other,
/// calibration looks at what lies between them.
#pragma once

#include <vector>

#include <tightkv/core/matrix.hpp>

#include "model.hpp"
#include "rope.hpp"
#include "thread_pool.hpp"

namespace engine {

/// `to = from / rms(from) * scale`, row by row.
void rms_norm(thread_pool& pool, tightkv::matrix_view<float const> from, std::vector<float> const& scale, float epsilon,
              tightkv::matrix_view<float> to);

/// The activations of some tokens, one row each.
///
///     engine::block block{model.shape(), pool, rows};
///     for (int p = 0; p < rows; ++p) block.add_position(p);
///     block.project(w, state);        // queries, keys and values
///     block.turn();                   // RoPE
///     block.merge(w);                 // where keys of several heads become one at run time
///     cache.write(layer, block.keys(), block.values());
///     attend(...block.queries(), block.attended()...);
///     block.add_attention(w, state);  // state += attended * W_O
///     block.add_feed_forward(w, state);
class block {
 public:
  using activations = tightkv::matrix_view<float const>;

  block(hyper_parameters const& shape, thread_pool& pool, int rows);

  /// The position of the next row, for RoPE.
  void add_position(int position) { turns_.add(position); }

  void project(layer_weights const& w, activations state);
  void turn();
  void merge(layer_weights const& w);
  void add_attention(layer_weights const& w, tightkv::matrix_view<float> state);
  void add_feed_forward(layer_weights const& w, tightkv::matrix_view<float> state);

  /// tokens x (head, head_dim). Before `merge` the heads are those of the weights, afterwards those of the cache.
  activations queries() const noexcept { return merged_ ? merged_queries_.view() : queries_.view(); }
  activations keys() const noexcept { return merged_ ? merged_keys_.view() : keys_.view(); }
  activations values() const noexcept { return values_.view(); }
  /// What attention makes of the values: the input of W_O.
  activations attended() const noexcept { return attended_.view(); }
  tightkv::matrix_view<float> attended() noexcept { return attended_.view(); }

 private:
  void add_change(tightkv::matrix_view<float> state);

  hyper_parameters const& s_;
  thread_pool& pool_;
  rope turns_;
  bool merged_ = false;
  tightkv::matrix<float> normed_, change_, queries_, keys_, merged_queries_, merged_keys_, values_, attended_, gate_,
      up_;
};

}  // namespace engine
