// SPDX-License-Identifier: Apache-2.0
#include "merge_model.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include <tightkv/eigen.hpp>
#include <tightkv/view/layouts.hpp>

#include "block.hpp"
#include "linear.hpp"
#include "merge_layer.hpp"
#include "next_token.hpp"
#include "text_layer.hpp"

namespace tightkv::cli {
namespace {

using rows = matrix_view<float const>;

auto heads_of(rows const& m, int head_dim) {
  return nhd(m.data, {.heads = m.cols / head_dim, .tokens = m.rows, .head_dim = head_dim});
}

/// The residual stream of one window in both models, and what the layer at hand makes of it.
struct window_state {
  matrix<float> original;
  matrix<float> merged;
  matrix<float> target;    // what the merged layer's attention should add to its stream
  matrix<float> attended;  // the input of the merged layer's W_O
};

class merge_walk {
 public:
  merge_walk(engine::model const& model, engine::thread_pool& pool,
             std::vector<std::vector<engine::token>> const& windows, merge_options const& asked)
      : model_(model), pool_(pool), asked_(asked), s_(model.shape()), merged_shape_(merged_shape(s_, asked)) {
    for (auto const& tokens : windows) {
      auto const count = static_cast<int>(tokens.size());
      matrix<float> embedded(count, s_.width);
      for (int t = 0; t < count; ++t) {
        std::ranges::copy(model.embedding().row(tokens[static_cast<std::size_t>(t)]), embedded.view().row(t));
      }
      int const inputs = s_.query_heads * merged_shape_.value_dim();
      states_.push_back({embedded, embedded, matrix<float>(count, s_.width), matrix<float>(count, inputs)});
    }
  }

  merged_model run(merge_progress const& show) {
    merged_model result{.shape = merged_shape_};
    for (int layer = 0; layer < s_.layers; ++layer) {
      show(layer, s_.layers);
      auto const& w = model_.layer(layer);
      auto merged = merge_layer(s_, w, statistics(w), asked_);
      for (auto& state : states_) {
        walk_original(w, state);
        attend_merged(merged.weights, state);
      }
      result.reports.push_back(refit(merged));
      for (auto& state : states_) walk_merged(merged.weights, state);
      result.layers.push_back(std::move(merged.weights));
    }
    result.kl = divergence();
    return result;
  }

 private:
  /// Keys, values and queries of the original weights on the merged model's activations.
  layer_sums statistics(engine::layer_weights const& w) {
    layer_sums sums(shape_of(s_));
    for (auto const& state : states_) {
      auto& layer = original_layer(state);
      layer.project(w, state.merged.view());
      if (asked_.keys != "alternating") layer.activations().turn();  // which is about keys before RoPE
      auto const& a = layer.activations();
      sums.add(eigen_cpu{}, heads_of(a.keys(), s_.head_dim), heads_of(a.values(), s_.head_dim),
               heads_of(a.queries(), s_.head_dim), asked_.skip);
    }
    auto not_finite = sums.keys.rows().not_finite + sums.values.rows().not_finite;
    for (auto const& q : sums.queries) not_finite += q.rows().not_finite;
    detail::expects(not_finite == 0, "merge-heads", "the model's activations must be finite", "rows that are not",
                    not_finite);
    return sums;
  }

  /// The original's layer on its own stream. What its attention adds is the target; or what brings the merged stream to
  /// where the original's then is.
  void walk_original(engine::layer_weights const& w, window_state& state) {
    auto& layer = original_layer(state);
    layer.project(w, state.original.view());
    layer.attend(w);
    state.target = asked_.refit == "residual" ? state.merged : state.original;
    layer.activations().add_attention(w, state.original.view());
    auto const target = state.target.view();
    for (int r = 0; r < target.rows; ++r) {
      for (int c = 0; c < target.cols; ++c) target(r, c) = state.original(r, c) - target(r, c);
    }
    layer.activations().add_feed_forward(w, state.original.view());
  }

  void attend_merged(engine::layer_weights const& w, window_state& state) {
    auto& layer = merged_layer_of(state);
    layer.project(w, state.merged.view());
    layer.attend(w);
    rows const z = layer.activations().attended();
    std::copy_n(z.data, std::ptrdiff_t{z.rows} * z.cols, state.attended.view().data);
  }

  void walk_merged(engine::layer_weights const& w, window_state& state) {
    auto& activations = merged_layer_of(state).activations();
    std::ranges::copy_n(state.attended.view().data, std::ptrdiff_t{state.attended.rows()} * state.attended.cols(),
                        activations.attended().data);
    activations.add_attention(w, state.merged.view());
    activations.add_feed_forward(w, state.merged.view());
  }

  /// Of the merged layer's attention, how near its output is to the target; then W_O is refitted if that was asked.
  layer_report refit(merged_layer& merged) {
    auto& w = merged.weights;
    // The last sixth of the tokens chooses the ridge: whole windows, or the end of the only one.
    refit_sums fitted(w.attention_output.cols(), s_.width);
    refit_sums held_out = fitted;
    for (std::size_t i = 0; i < states_.size(); ++i) {
      auto const& state = states_[i];
      rows const z = without_first(state.attended.view());
      rows const y = without_first(state.target.view());
      int const split =
          states_.size() > 1 ? (6 * i >= 5 * states_.size() || i + 1 == states_.size() ? 0 : z.rows) : z.rows * 5 / 6;
      fitted.add({z.data, split, z.cols, z.stride}, {y.data, split, y.cols, y.stride});
      held_out.add({z.row(split), z.rows - split, z.cols, z.stride}, {y.row(split), y.rows - split, y.cols, y.stride});
    }
    layer_report report{.keys = merged.keys, .values = merged.values};
    auto all = fitted;
    all += held_out;
    report.output = report.refitted = output_energy(all, w.attention_output.view());
    if (asked_.refit == "none") return report;
    if (asked_.ridge > 0) {
      w.attention_output = refit_output(all, w.attention_output.view(), asked_.ridge);
      report.ridge = asked_.ridge;
      report.refitted = output_energy(all, w.attention_output.view());
      return report;
    }
    constexpr std::array ridges{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0};
    auto chosen = choose_refit(fitted, held_out, w.attention_output.view(), ridges);
    w.attention_output = std::move(chosen.output);
    report.ridge = chosen.ridge;
    report.refitted = output_energy(all, w.attention_output.view());
    return report;
  }

  rows without_first(rows const& all) const {
    int const skip = std::min(asked_.skip, all.rows);
    return {all.row(skip), all.rows - skip, all.cols, all.stride};
  }

  /// Of the last tokens of the last window.
  double divergence() {
    auto const& state = states_.back();
    int const count = std::min(state.original.rows(), 128);
    auto const expected = logits_of(state.original, count);
    auto const merged = logits_of(state.merged, count);
    double sum = 0;
    for (int r = 0; r < count; ++r) sum += next_token(expected.row(r)).divergence_to(next_token(merged.row(r)));
    return sum / count;
  }
  matrix<float> logits_of(matrix<float> const& state, int last) {
    matrix<float> normed(last, s_.width);
    matrix<float> logits(last, s_.vocabulary);
    auto const from = state.view();
    engine::rms_norm(pool_, {from.row(from.rows - last), last, from.cols, from.stride}, model_.output_norm(),
                     s_.rms_epsilon, normed.view());
    engine::linear(pool_, model_.output(), normed.view(), logits.view());
    return logits;
  }

  /// Layers as long as the window; only the last window may be shorter.
  engine::text_layer& original_layer(window_state const& state) { return fitting(original_, s_, state); }
  engine::text_layer& merged_layer_of(window_state const& state) { return fitting(merged_, merged_shape_, state); }
  engine::text_layer& fitting(std::optional<engine::text_layer>& layer, engine::hyper_parameters const& shape,
                              window_state const& state) {
    int const tokens = state.original.rows();
    if (!layer || layer->activations().values().rows != tokens) layer.emplace(shape, pool_, tokens);
    return *layer;
  }

  engine::model const& model_;
  engine::thread_pool& pool_;
  merge_options const& asked_;
  engine::hyper_parameters const& s_;
  engine::hyper_parameters merged_shape_;
  std::vector<window_state> states_;
  std::optional<engine::text_layer> original_;
  std::optional<engine::text_layer> merged_;
};

}  // namespace

merged_model merge_model(engine::model const& original, engine::thread_pool& pool,
                         std::vector<std::vector<engine::token>> const& windows, merge_options const& asked,
                         merge_progress const& show) {
  detail::expects(!windows.empty() && !windows.front().empty(), "merge-heads", "there must be a calibration text");
  return merge_walk(original, pool, windows, asked).run(show);
}

}  // namespace tightkv::cli
