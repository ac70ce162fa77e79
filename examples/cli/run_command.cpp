// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <iomanip>
#include <iostream>
#include <memory>

#include "commands.hpp"
#include "run_options.hpp"

namespace tightkv::cli {
namespace {

using nlohmann::ordered_json;

void check(run_options const& asked) {
  bool const streams = !asked.stream.empty();
  detail::expects(streams != !asked.context.empty(), "run", "needs --context or --stream, one of them");
  if (streams) {
    detail::expects(asked.continuation.empty() && asked.generate == 0 && asked.score_last == 0, "run",
                    "--stream goes with neither --continuation, --score-last nor --generate");
    return;
  }
  detail::expects(asked.continuation.empty() == (asked.generate > 0), "run",
                  "needs --continuation or --generate, one of them");
  detail::expects(asked.score_last == 0 || asked.generate == 0, "run", "--score-last belongs to --continuation");
}

progress progress_on_a_terminal() {
  if (isatty(STDERR_FILENO) == 0) return [](std::string const&, int, int) {};
  return [](std::string const& what, int done, int of) {
    std::cerr << "\r\033[K" << what;
    if (of > 1) std::cerr << ' ' << done << " of " << of;
    std::cerr << std::flush;
  };
}

template <class T>
ordered_json run_with(run_options const& asked, language_model& model, executor_type const& ex, progress const& show) {
  return asked.stream.empty() ? run_context<T>(asked, model, ex, show) : run_stream<T>(asked, model, ex, show);
}

std::string text_of(ordered_json const& value) {
  if (value.is_null()) return "-";
  if (value.is_array()) return "varies";
  if (!value.is_number_float()) return value.dump();
  std::ostringstream out;
  out << std::setprecision(4) << value.get<double>();
  return out.str();
}

void print(ordered_json const& out) {
  std::cout << out["tokens"] << " tokens";
  if (out.contains("prefill_ms")) std::cout << ", prefill " << text_of(out["prefill_ms"]) << " ms";
  std::cout << '\n';
  bool const streamed = out.contains("chunk");
  std::vector<std::pair<char const*, int>> columns{
      {"method", 16}, {"kept", 8}, {"kv_bytes_after", 16}, {"compress_ms", 13}};
  if (streamed) columns.push_back({"peak_rows", 11});
  columns.insert(columns.end(), {{"nll", 10}, {"accuracy", 10}, {"kl", 12}});
  for (auto const& [name, width] : columns) std::cout << std::setw(width) << name;
  std::cout << '\n';
  for (auto const& r : out["results"]) {
    for (auto const& [name, width] : columns) {
      std::cout << std::setw(width) << (r[name].is_string() ? r[name].get<std::string>() : text_of(r[name]));
    }
    std::cout << '\n';
  }
  for (auto const& r : out["results"]) {
    if (r.contains("text"))
      std::cout << "\n--- " << r["method"].get<std::string>() << "\n" << r["text"].get<std::string>() << '\n';
  }
}

void run(run_options const& asked) {
  check(asked);
  engine::thread_pool pool(asked.threads);
  auto const ex = engine::executor_on(pool);
  auto const show = progress_on_a_terminal();
  show("loading the model", 0, 1);
  language_model model(asked.model, pool);
  auto const out = asked.kv_type == "f32"    ? run_with<float>(asked, model, ex, show)
                   : asked.kv_type == "bf16" ? run_with<bfloat16>(asked, model, ex, show)
                                             : run_with<half>(asked, model, ex, show);
  if (isatty(STDERR_FILENO) != 0) std::cerr << "\r\033[K" << std::flush;
  if (asked.json) {
    std::cout << out.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << '\n';
  } else {
    print(out);
  }
}

}  // namespace

void add_run(CLI::App& app) {
  auto const asked = std::make_shared<run_options>();
  auto* const command = app.add_subcommand("run", "Compress the cache of a real model on a text, and go on decoding.");
  command->add_option("--model", asked->model, "GGUF model")->required()->type_name("FILE");
  command->add_option("--context", asked->context, "Text whose cache is compressed")->type_name("FILE");
  command->add_option("--continuation", asked->continuation, "Text to score after it")->type_name("FILE");
  command->add_option("--score-last", asked->score_last, "Score only its last tokens")->check(CLI::PositiveNumber);
  command->add_option("--generate", asked->generate, "Generate so many tokens instead")->check(CLI::PositiveNumber);
  command->add_option("--stream", asked->stream, "Text to score while it flows through a small cache")
      ->type_name("FILE");
  command->add_option("--chunk", asked->chunk, "Tokens at a time, with --stream")->check(CLI::PositiveNumber);
  add_method_options(*command, asked->methods);
  command->add_option("--kv-type", asked->kv_type, "Element type of the cache")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  command->add_flag("--indices", asked->indices, "Print the kept tokens of each layer and head");
  command->add_option("--threads", asked->threads, "Threads")->check(CLI::Range(1, 1024));
  command->add_flag("--json", asked->json, "Print one JSON object");
  command->callback([asked] { run(*asked); });
}

}  // namespace tightkv::cli
