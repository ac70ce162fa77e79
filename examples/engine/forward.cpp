// SPDX-License-Identifier: Apache-2.0
#include "forward.hpp"

#include <algorithm>
#include <set>

#include "attention.hpp"
#include "block.hpp"
#include "linear.hpp"

namespace engine {
namespace {

using tightkv::detail::expects;
using matrix = tightkv::matrix<float>;

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

int rows_in(auto const& sequences) {
  std::size_t rows = 0;
  for (auto const& sequence : sequences) rows += sequence.tokens.size();
  return static_cast<int>(rows);
}

/// One call: all new tokens of all sequences, one row of the residual stream each, through all layers.
template <class T>
class pass {
 public:
  pass(model const& m, thread_pool& pool, std::span<new_tokens<T> const> sequences)
      : model_(m),
        pool_(pool),
        sequences_(sequences),
        s_(m.shape()),
        block_(s_, pool, rows_in(sequences)),
        state_(rows_in(sequences), s_.width) {
    int row = 0;
    for (auto const& sequence : sequences_) {
      starts_.push_back(row);
      int position = sequence.cache.next_position();
      for (token const t : sequence.tokens) {
        std::ranges::copy(model_.embedding().row(t), state_.view().row(row++));
        block_.add_position(position++);
      }
    }
  }

  matrix run() {
    for (auto const& sequence : sequences_) prepare_capture(sequence);
    for (int layer = 0; layer < s_.layers; ++layer) {
      auto const& w = model_.layer(layer);
      block_.project(w, state_.view());
      block_.turn();
      block_.merge(w);
      // The new rows lie behind those in use; they count only when the whole pass is done.
      for (std::size_t i = 0; i < sequences_.size(); ++i) {
        sequences_[i].cache.write(layer, rows_of(i, block_.keys()), rows_of(i, block_.values()));
        capture(sequences_[i], starts_[i], layer);
      }
      attend_all(layer);
      block_.add_attention(w, state_.view());
      block_.add_feed_forward(w, state_.view());
    }
    for (auto const& sequence : sequences_) sequence.cache.appended(static_cast<int>(sequence.tokens.size()));
    return outputs();
  }

 private:
  /// The rows of one sequence.
  template <class M>
  M rows_of(std::size_t i, M const& whole) const {
    return {whole.row(starts_[i]), static_cast<int>(sequences_[i].tokens.size()), whole.cols, whole.stride};
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
        out = std::copy_n(block_.queries().row(first + r) + h * to.head_dim, to.head_dim, out);
      }
    }
  }

  void attend_all(int layer) {
    std::vector<attention_of<T>> all;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      all.push_back({.cache = sequences_[i].cache,
                     .layer = layer,
                     .queries = rows_of(i, block_.queries()),
                     .out = rows_of(i, block_.attended()),
                     .values_per_row = s_.values_per_row});
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
    rms_norm(pool_, last.view(), model_.output_norm(), s_.rms_epsilon, hidden.view());
    return hidden;
  }

  model const& model_;
  thread_pool& pool_;
  std::span<new_tokens<T> const> sequences_;
  hyper_parameters const& s_;
  block block_;
  matrix state_;
  std::vector<int> starts_;
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
