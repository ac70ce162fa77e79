// SPDX-License-Identifier: Apache-2.0
#include "forward.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <set>

#include "attention.hpp"
#include "convert.hpp"
#include "linear.hpp"
#include "rope.hpp"

namespace engine {
namespace {

using tightkv::detail::expects;
using matrix = tightkv::matrix<float>;
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

/// `to = from / rms(from) * scale`, row by row.
void rms_norm(thread_pool& pool, matrix const& from, std::vector<float> const& scale, float epsilon, matrix& to) {
  auto const in = from.view();
  auto const out = to.view();
  for_each_row(pool, in.rows, [&](int r) {
    const_floats const x(in.row(r), in.cols);
    floats(out.row(r), in.cols) =
        x * (1.0F / std::sqrt(x.square().mean() + epsilon)) * const_floats(scale.data(), in.cols);
  });
}

/// `gate = silu(gate) * up`
void gated(thread_pool& pool, matrix& gate, matrix const& up) {
  auto const to = gate.view();
  for_each_row(pool, to.rows, [&](int r) {
    floats g(to.row(r), to.cols);
    g = g / (1.0F + (-g).exp()) * const_floats(up.row(r).data(), to.cols);
  });
}

void add(thread_pool& pool, matrix& to, matrix const& what) {
  auto const sum = to.view();
  for_each_row(pool, sum.rows,
               [&](int r) { floats(sum.row(r), sum.cols) += const_floats(what.row(r).data(), sum.cols); });
}

template <class T>
void check(model const& m, std::span<new_tokens<T> const> sequences) {
  auto const& s = m.shape();
  std::set<kv_cache<T> const*> seen;
  for (auto const& sequence : sequences) {
    auto const& c = sequence.cache.shape();
    expects(!sequence.tokens.empty(), "engine::forward", "there must be a token");
    expects(sequence.outputs >= 0, "engine::forward", "outputs must not be negative", "outputs", sequence.outputs);
    expects(c.layers == s.layers && c.kv_heads == s.kv_heads && c.head_dim == s.head_dim, "engine::forward",
            "the cache must have the model's shape");
    auto const room = static_cast<std::size_t>(c.capacity - sequence.cache.longest());
    expects(sequence.tokens.size() <= room, "engine::forward", "the cache must have room for the tokens", "tokens",
            sequence.tokens.size(), "room", room);
    expects(seen.insert(&sequence.cache).second, "engine::forward", "a cache must not be given twice");
    for (token const t : sequence.tokens) {
      expects(0 <= t && t < s.vocabulary, "engine::forward", "a token is not in the vocabulary", "token", t);
    }
  }
}

/// The activations of one call: all new tokens of all sequences, one row each, and what is done to them.
template <class T>
class pass {
 public:
  pass(model const& m, thread_pool& pool, std::span<new_tokens<T> const> sequences)
      : model_(m), pool_(pool), sequences_(sequences), s_(m.shape()), turns_({s_.rope_dimensions, s_.rope_base}) {
    for (auto const& sequence : sequences_) {
      starts_.push_back(rows_);
      rows_ += static_cast<int>(sequence.tokens.size());
    }
    state_ = matrix(rows_, s_.width);
    normed_ = matrix(rows_, s_.width);
    change_ = matrix(rows_, s_.width);
    queries_ = matrix(rows_, s_.query_heads * s_.head_dim);
    attended_ = matrix(rows_, s_.query_heads * s_.head_dim);
    keys_ = matrix(rows_, s_.kv_heads * s_.head_dim);
    values_ = matrix(rows_, s_.kv_heads * s_.head_dim);
    gate_ = matrix(rows_, s_.feed_forward);
    up_ = matrix(rows_, s_.feed_forward);
    embed();
  }

  matrix run() {
    for (auto const& sequence : sequences_) prepare_capture(sequence);
    for (int layer = 0; layer < s_.layers; ++layer) {
      attention_block(layer);
      feed_forward_block(model_.layer(layer));
    }
    for (auto const& sequence : sequences_) sequence.cache.appended(static_cast<int>(sequence.tokens.size()));
    return outputs();
  }

 private:
  void embed() {
    int row = 0;
    for (auto const& sequence : sequences_) {
      int position = sequence.cache.next_position();
      for (token const t : sequence.tokens) {
        std::ranges::copy(model_.embedding().row(t), state_.view().row(row++));
        turns_.add(position++);
      }
    }
  }

  void attention_block(int layer) {
    auto const& w = model_.layer(layer);
    rms_norm(pool_, state_, w.attention_norm, s_.rms_epsilon, normed_);
    linear(pool_, w.query, normed_.view(), queries_.view());
    linear(pool_, w.key, normed_.view(), keys_.view());
    linear(pool_, w.value, normed_.view(), values_.view());
    turn_heads();
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      store(sequences_[i], starts_[i], layer);
      capture(sequences_[i], starts_[i], layer);
    }
    attend_all(layer);
    linear(pool_, w.attention_output, attended_.view(), change_.view());
    add(pool_, state_, change_);
  }

  void feed_forward_block(layer_weights const& w) {
    rms_norm(pool_, state_, w.feed_forward_norm, s_.rms_epsilon, normed_);
    linear(pool_, w.gate, normed_.view(), gate_.view());
    linear(pool_, w.up, normed_.view(), up_.view());
    gated(pool_, gate_, up_);
    linear(pool_, w.down, gate_.view(), change_.view());
    add(pool_, state_, change_);
  }

  void turn_heads() {
    auto const queries = queries_.view();
    auto const keys = keys_.view();
    for_each_row(pool_, rows_, [&](int r) {
      for (int h = 0; h < s_.query_heads; ++h) turns_.turn(r, queries.row(r) + h * s_.head_dim);
      for (int h = 0; h < s_.kv_heads; ++h) turns_.turn(r, keys.row(r) + h * s_.head_dim);
    });
  }

  /// Writes the new rows behind those in use; they count only when the whole pass is done.
  void store(new_tokens<T> const& sequence, int start, int layer) {
    auto& cache = sequence.cache;
    for (int h = 0; h < s_.kv_heads; ++h) {
      auto const end = h * cache.head_stride() + std::ptrdiff_t{cache.length(layer, h)} * s_.head_dim;
      for (int i = 0; i < static_cast<int>(sequence.tokens.size()); ++i) {
        auto const at = end + std::ptrdiff_t{i} * s_.head_dim;
        from_float(keys_.view().row(start + i) + h * s_.head_dim, s_.head_dim, cache.keys(layer) + at);
        from_float(values_.view().row(start + i) + h * s_.head_dim, s_.head_dim, cache.values(layer) + at);
      }
    }
  }

  void prepare_capture(new_tokens<T> const& sequence) const {
    if (sequence.queries == nullptr) return;
    auto& to = *sequence.queries;
    to.heads = s_.query_heads;
    to.head_dim = s_.head_dim;
    to.rows = std::clamp(to.window, 0, static_cast<int>(sequence.tokens.size()));
    auto const size = static_cast<std::size_t>(to.heads) * static_cast<std::size_t>(to.rows * to.head_dim);
    to.layers.assign(static_cast<std::size_t>(s_.layers), std::vector<float>(size));
  }

  void capture(new_tokens<T> const& sequence, int start, int layer) const {
    if (sequence.queries == nullptr) return;
    auto const& to = *sequence.queries;
    int const first = start + static_cast<int>(sequence.tokens.size()) - to.rows;
    float* out = sequence.queries->layers[static_cast<std::size_t>(layer)].data();
    for (int h = 0; h < to.heads; ++h) {
      for (int r = 0; r < to.rows; ++r) {
        out = std::copy_n(queries_.view().row(first + r) + h * to.head_dim, to.head_dim, out);
      }
    }
  }

  void attend_all(int layer) {
    std::vector<attention_of<T>> all;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      auto const rows = static_cast<int>(sequences_[i].tokens.size());
      auto const part = [&]<class M>(M const& whole) {
        return M{whole.row(starts_[i]), rows, whole.cols, whole.stride};
      };
      all.push_back({.cache = sequences_[i].cache,
                     .layer = layer,
                     .queries = part(queries_.view()),
                     .out = part(attended_.view())});
    }
    attend<T>(pool_, all);
  }

  matrix outputs() {
    int rows = 0;
    auto const outputs_of = [](auto const& sequence) {
      return std::min(sequence.outputs, static_cast<int>(sequence.tokens.size()));
    };
    for (auto const& sequence : sequences_) rows += outputs_of(sequence);
    matrix last(rows, s_.width);
    int row = 0;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      int const end = starts_[i] + static_cast<int>(sequences_[i].tokens.size());
      for (int r = end - outputs_of(sequences_[i]); r < end; ++r)
        std::ranges::copy(state_.row(r), last.view().row(row++));
    }
    matrix hidden(rows, s_.width);
    rms_norm(pool_, last, model_.output_norm(), s_.rms_epsilon, hidden);
    return hidden;
  }

  model const& model_;
  thread_pool& pool_;
  std::span<new_tokens<T> const> sequences_;
  hyper_parameters const& s_;
  rope turns_;
  int rows_ = 0;
  std::vector<int> starts_;
  matrix state_, normed_, change_, queries_, attended_, keys_, values_, gate_, up_;
};

}  // namespace

template <tightkv::numeric_element T>
tightkv::matrix<float> forward(model const& m, thread_pool& pool, std::span<new_tokens<T> const> sequences) {
  check(m, sequences);
  return pass<T>(m, pool, sequences).run();
}

template matrix forward<float>(model const&, thread_pool&, std::span<new_tokens<float> const>);
template matrix forward<tightkv::half>(model const&, thread_pool&, std::span<new_tokens<tightkv::half> const>);
template matrix forward<tightkv::bfloat16>(model const&, thread_pool&, std::span<new_tokens<tightkv::bfloat16> const>);

tightkv::matrix<float> logits(model const& m, thread_pool& pool, matrix const& hidden, row_range range) {
  expects(0 <= range.first && range.first <= hidden.rows() && range.count >= 0, "engine::logits",
          "the rows must be among the hidden states", "first", range.first, "rows", hidden.rows());
  int const count = std::min(range.count, hidden.rows() - range.first);
  matrix result(count, m.shape().vocabulary);
  auto const from = hidden.view();
  linear(pool, m.output(), {from.row(range.first), count, from.cols, from.stride}, result.view());
  return result;
}

token greedy(std::span<float const> logits) {
  expects(!logits.empty(), "engine::greedy", "there must be a logit");
  return static_cast<token>(std::ranges::max_element(logits) - logits.begin());
}

}  // namespace engine
