// SPDX-License-Identifier: Apache-2.0
/// `tightkv_llama`: the library inside an unmodified llama.cpp, through its public API.
#include <exception>
#include <iostream>
#include <map>

#include "options.hpp"

namespace tightkv::llama {

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
  command.add_flag("!--no-flash-attention", engine.flash_attention, "Values transposed, attention in the open");
}

}  // namespace tightkv::llama

int main(int argc, char** argv) {
  CLI::App app{"KV-cache compression inside an unmodified llama.cpp.", "tightkv_llama"};
  app.require_subcommand(1);
  tightkv::llama::add_compare(app);
  tightkv::llama::add_generate(app);
  tightkv::llama::add_check(app);
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
