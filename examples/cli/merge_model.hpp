// SPDX-License-Identifier: Apache-2.0
/// A whole model's heads merged, layer by layer, on a calibration text.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include <tightkv/mergers/head_projection.hpp>

#include "merge_options.hpp"
#include "model.hpp"
#include "thread_pool.hpp"
#include "tokenizer.hpp"

namespace tightkv::cli {

/// How a layer fared.
struct layer_report {
  energy keys;        ///< what the key merger was to keep, as its statistics predict
  energy values;      ///< the same of the value merger
  energy output{};    ///< of the layer's attention output, measured: before the refit
  energy refitted{};  ///< and after it
  double ridge = 0;   ///< that the refit chose; infinite where W_O stayed as it was, 0 without a refit
};

struct merged_model {
  engine::hyper_parameters shape;
  std::vector<engine::layer_weights> layers{};
  std::vector<layer_report> reports{};
  double kl = 0;  ///< nats, from the original's next-token distribution to the merged model's, on calibration text
};

/// Called before each layer.
using merge_progress = std::function<void(int layer, int of)>;

/// Merges the KV heads of a model. Both models walk through the layers together: each layer is calibrated and refitted
/// on inputs from the already merged model, its target is what the original does on its own inputs. Of each window only
/// the residual stream is kept from one layer to the next.
merged_model merge_model(engine::model const& original, engine::thread_pool& pool,
                         std::vector<std::vector<engine::token>> const& windows, merge_options const& asked,
                         merge_progress const& show);

}  // namespace tightkv::cli
