// SPDX-License-Identifier: Apache-2.0
// quality_model_speed MODEL.gguf TEXT PROMPT NEW [LOGITS]: how fast a model reads the text's first PROMPT tokens and
// then writes NEW more, and the bytes of its cache (f16). LOGITS gets the prompt's token ids (int32) and logits
// (float32), from a cache in float32, for another engine to be held against.
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include <tightkv/interop/file.hpp>

#include "forward.hpp"
#include "language_model.hpp"

namespace {

using namespace tightkv;
using clock_type = std::chrono::steady_clock;

double seconds_since(clock_type::time_point start) {
  return std::chrono::duration<double>(clock_type::now() - start).count();
}

template <class T>
engine::kv_cache<T> cache_for(cli::language_model const& m, int capacity) {
  auto const& s = m.weights.shape();
  return engine::kv_cache<T>(
      {.layers = s.layers, .kv_heads = s.kv_heads, .capacity = capacity, .head_dim = s.head_dim});
}

void write_logits(cli::language_model& m, std::span<engine::token const> prompt, std::string const& path) {
  auto cache = cache_for<float>(m, static_cast<int>(prompt.size()));
  auto const logits = engine::logits(
      m.weights, m.pool,
      engine::forward<float>(m.weights, m.pool, {.tokens = prompt, .cache = cache, .outputs = engine::all_rows}));
  auto const count = static_cast<std::size_t>(logits.rows()) * static_cast<std::size_t>(logits.cols());
  write_file(path, {std::as_bytes(prompt), std::as_bytes(std::span(logits.view().data, count))});
}

void measure(std::vector<std::string> const& arguments) {
  detail::expects(arguments.size() == 4 || arguments.size() == 5, "quality_model_speed",
                  "usage: MODEL.gguf TEXT PROMPT NEW [LOGITS]");
  engine::thread_pool pool(2);
  cli::language_model model(arguments[0], pool);
  auto const text = model.read_calibration(arguments[1]);
  auto const length = static_cast<std::size_t>(std::strtoul(arguments[2].c_str(), nullptr, 10));
  int const more = std::atoi(arguments[3].c_str());
  detail::expects(0 < length && length <= text.size() && more >= 0, "quality_model_speed", "the text is too short",
                  "tokens", text.size());
  auto const prompt = std::span(text).first(length);
  if (arguments.size() == 5) write_logits(model, prompt, arguments[4]);

  auto cache = cache_for<half>(model, static_cast<int>(length) + more);
  auto start = clock_type::now();
  auto hidden = engine::forward<half>(model.weights, pool, {.tokens = prompt, .cache = cache});
  auto next = engine::greedy(engine::logits(model.weights, pool, hidden).row(0));
  double const prefill = seconds_since(start);
  auto const bytes = cache.bytes_in_use();
  start = clock_type::now();
  for (int i = 0; i < more; ++i) {
    hidden = engine::forward<half>(model.weights, pool, {.tokens = {&next, 1}, .cache = cache});
    next = engine::greedy(engine::logits(model.weights, pool, hidden).row(0));
  }
  double const decode = seconds_since(start);
  std::cout << nlohmann::ordered_json{{"model", arguments[0]},
                                      {"tokens", length},
                                      {"kv_bytes", bytes},
                                      {"prefill_tokens_per_s", static_cast<double>(length) / prefill},
                                      {"decode_tokens_per_s", more > 0 ? more / decode : 0.0}}
                   .dump()
            << '\n';
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
