// SPDX-License-Identifier: Apache-2.0
// quality_head_energy MODEL.gguf TEXT TOKENS: the premise of merging. For each layer, the share of energy in the
// leading quarter and half of the singular directions of all heads' rows side by side: values, keys before and after
// RoPE.
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include <tightkv/eigen.hpp>
#include <tightkv/view/layouts.hpp>

#include "language_model.hpp"
#include "text_layer.hpp"

namespace {

using namespace tightkv;

nlohmann::ordered_json shares(gram const& rows) {
  auto const leading = [&](int rank) {
    return svd_heads{.rank = rank}.merge(group_statistics{.heads = 1, .rows = rows}).predicted.kept();
  };
  return {{"quarter", leading(rows.size() / 4)}, {"half", leading(rows.size() / 2)}};
}

gram gram_of(matrix_view<float const> rows) {
  gram result(rows.cols);
  result.add(eigen_cpu{}, rows);
  return result;
}

void measure(std::vector<std::string> const& arguments) {
  detail::expects(arguments.size() == 3, "quality_head_energy", "usage: MODEL.gguf TEXT TOKENS");
  engine::thread_pool pool(2);
  cli::language_model model(arguments[0], pool);
  auto const text = model.read_calibration(arguments[1]);
  int const tokens = std::min(std::atoi(arguments[2].c_str()), static_cast<int>(text.size()));
  detail::expects(tokens > 0, "quality_head_energy", "needs tokens", "tokens", tokens);
  auto const& s = model.weights.shape();
  matrix<float> state(tokens, s.width);
  for (int t = 0; t < tokens; ++t) {
    std::ranges::copy(model.weights.embedding().row(text[static_cast<std::size_t>(t)]), state.view().row(t));
  }
  engine::text_layer layer(s, pool, tokens);
  auto layers = nlohmann::ordered_json::array();
  for (int i = 0; i < s.layers; ++i) {
    auto const& w = model.weights.layer(i);
    layer.project(w, state.view());
    auto const before = gram_of(layer.activations().keys());
    layer.attend(w);
    layers.push_back({{"values", shares(gram_of(layer.activations().values()))},
                      {"keys_before_rope", shares(before)},
                      {"keys_after_rope", shares(gram_of(layer.activations().keys()))}});
    layer.activations().add_attention(w, state.view());
    layer.activations().add_feed_forward(w, state.view());
  }
  std::cout << layers.dump(1) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  try {
    measure({argv + 1, argv + argc});
    return 0;
  } catch (std::exception const& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
