// SPDX-License-Identifier: Apache-2.0
/// `tightkv_llama`: the library inside an unmodified llama.cpp, through its public API.
#include <CLI/CLI.hpp>
#include <iostream>
#include <map>

#include "check.hpp"
#include "commands.hpp"
#include "compare.hpp"
#include "generate.hpp"

namespace {

using namespace tightkv::llama;

void add_engine_options(CLI::App& command, session_options& engine) {
  static std::map<std::string, ggml_type> const types{{"f32", GGML_TYPE_F32},
                                                      {"f16", GGML_TYPE_F16},
                                                      {"bf16", GGML_TYPE_BF16},
                                                      {"q8_0", GGML_TYPE_Q8_0},
                                                      {"q4_0", GGML_TYPE_Q4_0}};
  command.add_option("--model", engine.model, "GGUF model")->required()->type_name("FILE");
  command.add_option("--threads", engine.threads, "Threads")->check(CLI::Range(1, 1024));
  command.add_option("--cells", engine.cells, "Cells of the cache (n_ctx)")->check(CLI::PositiveNumber);
  command
      .add_option_function<std::string>(
          "--kv-type", [&engine](std::string const& name) { engine.keys = engine.values = types.at(name); },
          "Element type of the cache")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0", "q4_0"}));
  command.add_flag("!--no-flash-attention", engine.flash_attention, "Attention in the open, values transposed");
}

void add_route(CLI::App& command, std::string& through) {
  command.add_option("--route", through, "a: through a saved state; b: in place, high cells; c: in place, low cells")
      ->check(CLI::IsMember({"a", "b", "c"}));
}

void add_compare(CLI::App& app, compare_options& asked) {
  auto* const command = app.add_subcommand("compare", "Compress a context's cache by methods, go on, compare. JSON.");
  add_engine_options(*command, asked.engine);
  command->add_option("--context", asked.context, "Text whose cache is compressed")->required()->type_name("FILE");
  command->add_option("--continuation", asked.continuation, "Text to score after it")->required()->type_name("FILE");
  command->add_option("--score-last", asked.score_last, "Score only its last tokens")->check(CLI::PositiveNumber);
  command->add_option("--decode", asked.decode, "Then generate so many tokens, for the speed");
  add_route(*command, asked.through);
  tightkv::cli::add_method_options(*command, asked.methods);
  command->add_option("--plans", asked.plans, "What `tightkv run --indices --json` kept of the same context")
      ->type_name("FILE");
  command->callback([&] { compare(asked); });
}

void print(generated const& out) {
  std::cout << out.text << "\n\n"
            << out.prompt_tokens << " tokens read, then written up to position " << out.next_position << "; at most "
            << out.most_rows << " rows in the cache, " << out.rows << " at the end; " << out.compressions
            << " compressions, " << out.compress_ms << " of " << out.milliseconds << " ms\n";
}

void add_generate(CLI::App& app, generate_options& asked) {
  auto* const command = app.add_subcommand("generate", "Generate more tokens than the cache has cells.");
  add_engine_options(*command, asked.engine);
  command->add_option("--prompt", asked.prompt, "Text to go on from")->required()->type_name("FILE");
  command->add_option("--tokens", asked.tokens, "Tokens to generate")->required()->check(CLI::PositiveNumber);
  command->add_option("--every", asked.every, "Tokens from one compression to the next")->check(CLI::PositiveNumber);
  add_route(*command, asked.through);
  tightkv::cli::add_method_options(*command, asked.methods);
  command->callback([&] { print(generate(asked)); });
}

void add_check(CLI::App& app, check_options& asked) {
  auto* const command = app.add_subcommand("check", "Hold the routes against what llama.cpp itself computes.");
  command->add_option("--model", asked.model, "GGUF model")->required()->type_name("FILE");
  command->add_option("--text", asked.text, "Text to compute with")->required()->type_name("FILE");
  command->add_option("--threads", asked.threads, "Threads")->check(CLI::Range(1, 1024));
  command->callback([&] { check(asked); });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"KV-cache compression inside an unmodified llama.cpp.", "tightkv_llama"};
  app.require_subcommand(1);
  compare_options compared;
  generate_options generation;
  check_options checks;
  add_compare(app, compared);
  add_generate(app, generation);
  add_check(app, checks);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (CLI::ParseError const& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (std::exception const& error) {
    std::cerr << "tightkv_llama: " << error.what() << '\n';
    return 2;
  }
}
