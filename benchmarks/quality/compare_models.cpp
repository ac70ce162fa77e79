// SPDX-License-Identifier: Apache-2.0
// quality_compare_models ORIGINAL.gguf TEXT WINDOWS TOKENS CHANGED.gguf...
//
// What the changed models expect of a text, held against the original's expectation: as many windows of so many tokens
// spread evenly over the text. Prints JSON: mean nats per token, share of first choices, mean KL from the original, of
// all tokens and by how many are before them.
#include <bit>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "forward.hpp"
#include "language_model.hpp"
#include "next_token.hpp"

namespace {

using namespace tightkv;
using tightkv::cli::language_model;
using tightkv::cli::next_token;
using tightkv::cli::prediction_quality;

struct contender {
  std::string path;
  std::unique_ptr<language_model> model;
  prediction_quality quality{};
  std::vector<prediction_quality> by_position{};  // of the first 512 tokens, then up to 1024, 2048, ...
};

constexpr int first_positions = 512;

prediction_quality& of_position(contender& m, int position) {
  auto const range = static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(position / first_positions)));
  if (m.by_position.size() <= range) m.by_position.resize(range + 1);
  return m.by_position[range];
}

matrix<float> hidden_states(language_model& m, std::span<engine::token const> tokens) {
  auto const& s = m.weights.shape();
  engine::kv_cache<float> cache({.layers = s.layers,
                                 .kv_heads = s.kv_heads,
                                 .capacity = static_cast<int>(tokens.size()),
                                 .head_dim = s.head_dim});
  return engine::forward<float>(m.weights, m.pool, {.tokens = tokens, .cache = cache, .outputs = engine::all_rows});
}

/// The first model is the original, whose expectation the others are held against.
void compare(std::vector<contender>& models, std::span<engine::token const> tokens) {
  std::vector<matrix<float>> hidden;
  for (auto& m : models) hidden.push_back(hidden_states(*m.model, tokens));
  int const predicted = static_cast<int>(tokens.size()) - 1;
  constexpr int at_once = 64;
  for (int first = 0; first < predicted; first += at_once) {
    engine::row_range const rows{first, std::min(at_once, predicted - first)};
    std::vector<next_token> expected;
    for (std::size_t i = 0; i < models.size(); ++i) {
      auto& m = models[i];
      auto const logits = engine::logits(m.model->weights, m.model->pool, hidden[i], rows);
      for (int r = 0; r < rows.count; ++r) {
        next_token const of_this(logits.row(r));
        if (i == 0) expected.push_back(of_this);
        auto const actual = tokens[static_cast<std::size_t>(first + r + 1)];
        double const kl = expected[static_cast<std::size_t>(r)].divergence_to(of_this);
        m.quality.add(of_this, actual, kl);
        of_position(m, first + r).add(of_this, actual, kl);
      }
    }
  }
}

nlohmann::ordered_json described(prediction_quality const& quality) {
  auto const mean = quality.mean();
  return {{"tokens", quality.tokens}, {"nll", mean.nll}, {"accuracy", mean.accuracy}, {"kl", mean.kl}};
}

int run(std::vector<std::string> const& arguments) {
  detail::expects(arguments.size() >= 5, "quality_compare_models",
                  "usage: ORIGINAL.gguf TEXT WINDOWS TOKENS CHANGED.gguf...");
  auto const windows = std::strtol(arguments[2].c_str(), nullptr, 10);
  auto const length = std::strtol(arguments[3].c_str(), nullptr, 10);
  engine::thread_pool pool(2);
  std::vector<contender> models;
  models.push_back({arguments[0], std::make_unique<language_model>(arguments[0], pool)});
  for (std::size_t i = 4; i < arguments.size(); ++i) {
    models.push_back({arguments[i], std::make_unique<language_model>(arguments[i], pool)});
  }
  auto const text = models[0].model->read_calibration(arguments[1]);
  auto const tokens = static_cast<long>(text.size());
  detail::expects(windows >= 1 && length >= 2 && windows * length <= tokens, "quality_compare_models",
                  "the text is too short", "tokens", tokens);
  for (long w = 0; w < windows; ++w) {
    auto const first = windows > 1 ? (tokens - length) * w / (windows - 1) : 0;
    compare(models, std::span(text).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(length)));
  }
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (auto const& m : models) {
    out.push_back({{"model", m.path}});
    out.back().update(described(m.quality));
    for (int i = 0; auto const& range : m.by_position) {
      auto part = described(range);
      part["until_position"] = first_positions << i++;
      out.back()["by_position"].push_back(std::move(part));
    }
  }
  std::cout << out.dump(1) << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (std::exception const& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
