// SPDX-License-Identifier: Apache-2.0
#include "generate.hpp"

#include <algorithm>

#include <tightkv/interop/file.hpp>

#include "stopwatch.hpp"

namespace tightkv::llama {

generated generate(generate_options const& asked) {
  detail::expects(asked.methods.size() == 1, "generate", "needs one --method", "methods", asked.methods.size());
  session engine(asked.engine);
  cache_in_place cache(engine);
  engine::thread_pool pool(asked.engine.threads);
  auto const ex = engine::executor_on(pool);
  auto const r = route_named(asked.through);
  compressor method(asked.methods[0], llama_model_n_head_kv(engine.model()));
  engine.tap().window = std::min(method.query_window(), session::batch + asked.every);

  auto const file = read_file(asked.prompt);
  auto const bytes = file.bytes();
  auto const prompt = engine.tokens_of({reinterpret_cast<char const*>(bytes.data()), bytes.size()});
  generated out;
  out.prompt_tokens = static_cast<int>(prompt.size());
  auto const make_room = [&] {
    out.most_rows = std::max(out.most_rows, cache.tokens());
    auto const made = compress(ex, r, method, engine, cache);
    out.compress_ms += made.milliseconds;
    out.compressions += made.done.evicts() ? 1 : 0;
  };

  stopwatch const clock;
  engine.feed(std::span(prompt).first(prompt.size() - 1), 1, make_room);
  std::vector<llama_token> text;
  for (auto next = prompt.back(); static_cast<int>(text.size()) < asked.tokens; text.push_back(next)) {
    next = engine.feed_one(next);
    if (text.size() % static_cast<std::size_t>(asked.every) == 0) make_room();
  }
  out.next_position = engine.next_position();
  out.rows = cache.tokens();
  out.most_rows = std::max(out.most_rows, out.rows);
  out.milliseconds = clock.milliseconds();
  out.text = engine.text_of(text);
  return out;
}

}  // namespace tightkv::llama
