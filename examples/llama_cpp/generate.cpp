// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include <tightkv/interop/file.hpp>

#include "commands.hpp"
#include "options.hpp"
#include "routes.hpp"
#include "stopwatch.hpp"

namespace tightkv::llama {
namespace {

struct generate_options {
  session_options engine;
  std::string prompt;
  int tokens = 0;
  int every = 256;
  std::string through = "a";
  std::vector<cli::method_choice> methods;
};

/// Writes on and on in a cache of fixed size: every so many tokens the method makes room.
void generate(generate_options const& asked) {
  detail::expects(asked.methods.size() == 1, "generate", "needs one --method", "methods", asked.methods.size());
  session engine(asked.engine);
  cache_in_place cache(engine);
  engine::thread_pool pool(asked.engine.threads);
  auto const ex = engine::executor_on(pool);
  auto const r = route_named(asked.through);
  compressor method(asked.methods[0], llama_model_n_layer(engine.model()), llama_model_n_head_kv(engine.model()));
  engine.tap().window = std::min(method.query_window(), session::batch + asked.every);

  auto const file = read_file(asked.prompt);
  auto const bytes = file.bytes();
  auto const prompt = engine.tokens_of({reinterpret_cast<char const*>(bytes.data()), bytes.size()});
  int most = 0, times = 0;
  double compress_ms = 0;
  auto const make_room = [&] {
    most = std::max(most, cache.tokens());
    auto const done = compress(ex, r, method, engine, cache);
    compress_ms += done.milliseconds;
    times += done.done.evicts() ? 1 : 0;
  };

  stopwatch const clock;
  engine.feed(std::span(prompt).first(prompt.size() - 1), 1, make_room);
  std::vector<llama_token> text;
  for (auto next = prompt.back(); static_cast<int>(text.size()) < asked.tokens; text.push_back(next)) {
    next = engine.feed_one(next);
    if (text.size() % static_cast<std::size_t>(asked.every) == 0) make_room();
  }
  nlohmann::ordered_json const out{{"prompt_tokens", prompt.size()},
                                   {"generated", text.size()},
                                   {"next_position", engine.next_position()},
                                   {"cells", asked.engine.cells},
                                   {"most_rows", std::max(most, cache.tokens())},
                                   {"rows_at_the_end", cache.tokens()},
                                   {"compressions", times},
                                   {"compress_ms", compress_ms},
                                   {"milliseconds", clock.milliseconds()},
                                   {"text", engine.text_of(text)}};
  std::cout << out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
}

}  // namespace

void add_generate(CLI::App& app) {
  auto const asked = std::make_shared<generate_options>();
  auto* const command = app.add_subcommand("generate", "Generate more than the cache has cells. JSON.");
  add_engine_options(*command, asked->engine);
  command->add_option("--prompt", asked->prompt, "Text to go on from")->required()->type_name("FILE");
  command->add_option("--tokens", asked->tokens, "Tokens to generate")->required()->check(CLI::PositiveNumber);
  command->add_option("--every", asked->every, "Tokens between compressions")->check(CLI::PositiveNumber);
  command->add_option("--route", asked->through, "a: by the state, b: in place, high cells, c: in place, low cells");
  cli::add_method_options(*command, asked->methods);
  command->callback([asked] { generate(*asked); });
}

}  // namespace tightkv::llama
