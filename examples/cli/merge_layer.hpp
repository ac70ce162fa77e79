// SPDX-License-Identifier: Apache-2.0
/// The heads of one layer merged: from its weights and the statistics of its activations to new weights.
#pragma once

#include <tightkv/mergers/calibration.hpp>
#include <tightkv/mergers/head_projection.hpp>

#include "merge_options.hpp"
#include "model.hpp"

namespace tightkv::cli {

struct merged_layer {
  engine::layer_weights weights;
  energy keys;  ///< of what the mergers minimise: kept and lost
  energy values;
};

/// The heads of an engine's layer, as the mergers want to know them.
attention_shape shape_of(engine::hyper_parameters const& s);

/// What the merged model's shape will be.
engine::hyper_parameters merged_shape(engine::hyper_parameters const& s, merge_options const& asked);

/// Merges the heads of one layer. `sums` are of its own activations.
merged_layer merge_layer(engine::hyper_parameters const& s, engine::layer_weights const& w, layer_sums const& sums,
                         merge_options const& asked);

}  // namespace tightkv::cli
