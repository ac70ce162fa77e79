// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include <tightkv/interop/file.hpp>
#include <tightkv/interop/llama_state.hpp>

#include "cache_model.hpp"
#include "commands.hpp"
#include "executor_types.hpp"
#include "mapped_file.hpp"
#include "paths.hpp"
#include "shrink_state.hpp"
#include "spread.hpp"
#include "thread_pool.hpp"

#ifdef __GLIBC__  // known once a header of the standard library is there
#include <malloc.h>
#endif

namespace tightkv::cli {
namespace {

using nlohmann::ordered_json;

struct options {
  std::string input;
  std::string output;
  int kv_heads = 0;
  std::string model;
  std::vector<method_choice> methods;
  std::string rotated = "auto";
  int threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 64U));
  bool json = false;
};

/// Milliseconds since it was last asked.
class stopwatch {
 public:
  double lap() {
    auto const now = std::chrono::steady_clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

void check(options const& given) {
  check_paths(given.input, given.output);
  detail::expects(given.methods.size() == 1, "--method", "must be given once", "given", given.methods.size());
  detail::expects((given.kv_heads == 0) != given.model.empty(), "shrink",
                  "needs either --kv-heads or --model, to know how rows divide into heads");
  detail::expects(!given.methods.front().skips_any(), "skip_layers",
                  "cannot be used: all layers of a state have the same number of tokens");
}

/// The streams with tokens, none of which was evicted before.
std::vector<llama_state::stream const*> streams_of(llama_state::contents const& state) {
  std::vector<llama_state::stream const*> found;
  for (auto const& s : state.base.streams) {
    if (s.tokens() == 0) continue;
    detail::expects(s.is_whole(), "shrink",
                    "positions must be 0 to N - 1; this state was shrunk already, or tokens were removed", "first",
                    s.first, "last", s.last);
    found.push_back(&s);
  }
  detail::expects(!found.empty(), "shrink", "the state has no tokens");
  return found;
}

std::size_t kv_bytes_of(llama_state::stream const& s) {
  std::size_t bytes = 0;
  for (auto const& l : s.layers) bytes += l.keys.bytes.size() + l.values.bytes.size();
  return bytes;
}

ordered_json describe(llama_state::stream const& s, plan const& kept, std::ptrdiff_t nan_scores,
                      protected_tokens const& whatever, row_reading const& reading) {
  auto const& first = s.layers.front();
  int const tokens = s.tokens(), after = kept.after(0);
  auto const heads = static_cast<std::ptrdiff_t>(kept.heads());
  auto const bytes = kv_bytes_of(s);
  return {{"tokens", tokens},
          {"kept", after},
          {"positions", {s.last - after + 1, s.last}},
          {"protected", {{"sink", whatever.sink}, {"recent", whatever.recent}}},
          {"layers", s.layers.size()},
          {"kv_heads", reading.kv_heads},
          {"key_type", gguf::name_of(first.keys.type)},
          {"value_type", gguf::name_of(first.values.type)},
          {"rows_before", heads * tokens},
          {"rows_after", heads * after},
          {"kv_bytes_before", bytes},
          {"kv_bytes_after", bytes / static_cast<std::size_t>(tokens) * static_cast<std::size_t>(after)},
          {"nan_scores", nan_scores}};
}

void print(ordered_json const& report) {
  for (auto const& s : report["streams"]) {
    std::cout << report["method"].get<std::string>() << ": " << s["tokens"] << " tokens -> " << s["kept"]
              << ", at positions " << s["positions"][0] << " to " << s["positions"][1] << '\n'
              << "  rows    " << s["rows_before"] << " -> " << s["rows_after"] << ", " << s["layers"] << " layers of "
              << s["kv_heads"] << " KV heads, " << s["key_type"].get<std::string>() << " keys and "
              << s["value_type"].get<std::string>() << " values\n"
              << "  KV      " << s["kv_bytes_before"] << " -> " << s["kv_bytes_after"] << " bytes\n"
              << "  always kept: the first " << s["protected"]["sink"] << " and the last " << s["protected"]["recent"]
              << " tokens\n";
    if (auto const nans = s["nan_scores"].get<std::ptrdiff_t>(); nans > 0) {
      std::cout << "  " << nans << " scores are not a number; those rows rank last\n";
    }
  }
  std::cout << "  file    " << report["bytes_before"] << " -> " << report["bytes_after"] << " bytes\n";
  if (report["window_bytes"] > 0) {
    std::cout << "  layers with a sliding window: " << report["window_bytes"] << " bytes, copied\n";
  }
  auto const& ms = report["ms"];
  std::cout << std::fixed << std::setprecision(1) << "  read " << ms["read"].get<double>() << " ms, decide and write "
            << ms["shrink"].get<double>() << " ms\n";
}

/// Memory that was used once is kept: each time the heap grows or shrinks, threads that map the state's pages wait.
void keep_heap() {
#ifdef __GLIBC__
  constexpr int enough = 16 << 20;  // bytes
  ::mallopt(M_TOP_PAD, enough);
  ::mallopt(M_TRIM_THRESHOLD, 2 * enough);
  ::mallopt(M_MMAP_THRESHOLD, enough);
#endif
}

void run(options const& given) {
  check(given);
  stopwatch clock;
  keep_heap();
  engine::thread_pool pool(given.threads);
  spread(pool);
  engine::mapped_file const file(given.input);
  auto const state = llama_state::parse(file.bytes());
  auto const streams = streams_of(state);
  row_reading reading{given.kv_heads,
                      given.rotated == "no" ? llama_state::rotation::none : llama_state::rotation::stock};
  if (!given.model.empty()) {
    engine::mapped_file const model(given.model);
    reading.kv_heads = kv_heads_of(gguf::file(model.bytes()), state);
  }
  ordered_json report{{"method", given.methods.front().name()},
                      {"form", state.form == llama_state::form::file ? "file" : "buffer"},
                      {"streams", ordered_json::array()}};
  double const read = clock.lap();

  std::vector<layer_chooser> choosers;
  for (auto const* const s : streams) choosers.push_back(chooser_of(given.methods.front(), *s, reading));
  std::vector<plan> plans(streams.size());
  std::vector<stream_plan> kept;
  for (std::size_t i = 0; i < streams.size(); ++i) kept.emplace_back(pool, choosers[i], *streams[i], plans[i]);
  llama_state::smaller const after(state, plans, llama_state::decided_later{});
  write_file_unordered(given.output, after.size(), [&](auto const& put) {
    after.write_layers(
        executor_type{engine::lent_pool{pool}},
        [&](std::size_t stream, int layer) { kept[stream].decide(static_cast<std::size_t>(layer)); }, put);
  });
  for (std::size_t i = 0; i < streams.size(); ++i) {
    report["streams"].push_back(describe(*streams[i], plans[i], kept[i].nan_scores(), choosers[i].whatever, reading));
  }
  report["bytes_before"] = file.bytes().size();
  report["bytes_after"] = after.size();
  report["window_bytes"] = state.window.bytes.size();
  report["ms"] = {{"read", read}, {"shrink", clock.lap()}};
  if (given.json) {
    std::cout << report.dump() << '\n';
  } else {
    print(report);
  }
}

}  // namespace

void add_shrink(CLI::App& app) {
  auto const given = std::make_shared<options>();
  auto* const command =
      app.add_subcommand("shrink", "Shrink a saved llama.cpp sequence, or a slot file of llama-server.");
  command->add_option("IN", given->input, "Sequence state of llama.cpp")->required();
  command->add_option("OUT", given->output, "State to write")->required();
  command->add_option("--kv-heads", given->kv_heads, "KV heads of the model: the state does not say")
      ->check(CLI::Range(1, 65536));
  command->add_option("--model", given->model, "GGUF model to read them from")->type_name("FILE");
  add_method_options(*command, given->methods);
  command
      ->add_option("--rotated", given->rotated,
                   "Whether quantised rows are rotated: auto, as llama.cpp does by default, or no, as it does under "
                   "LLAMA_ATTN_ROT_DISABLE=1 and before April 2026")
      ->check(CLI::IsMember({"auto", "no"}));
  command->add_option("--threads", given->threads, "Threads, one per core unless given")->check(CLI::Range(1, 1024));
  command->add_flag("--json", given->json, "Print one JSON object");
  command->callback([given] { run(*given); });
}

}  // namespace tightkv::cli
