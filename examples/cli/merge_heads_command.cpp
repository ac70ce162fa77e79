// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include <tightkv/interop/gguf_writer.hpp>

#include "commands.hpp"
#include "language_model.hpp"
#include "merge_model.hpp"
#include "run_options.hpp"

namespace tightkv::cli {
namespace {

using nlohmann::ordered_json;

/// What is wrong with the request, before a long calibration rather than after it.
void check(merge_options const& asked, engine::hyper_parameters const& s, std::uintmax_t input_bytes) {
  namespace fs = std::filesystem;
  detail::expects(!s.merges_at_run_time, "merge-heads",
                  "the model's heads were merged already, with run-time matrices");
  if (s.kv_heads % asked.kv_heads != 0 || asked.kv_heads > s.kv_heads) {
    detail::refuse("merge-heads", "--kv-heads must divide the model's KV heads",
                   {{"kv-heads", asked.kv_heads}, {"KV heads of the model", s.kv_heads}});
  }
  bool const without_rope = asked.keys == "svd" || asked.keys == "svd-weights";
  detail::expects(!without_rope, "merge-heads",
                  "--keys svd and svd-weights are for keys without RoPE, and this model's have it: try commuting, or "
                  "post-rope at run time",
                  "keys", asked.keys);
  std::error_code failed;
  auto const folder = fs::absolute(asked.output, failed).parent_path();
  if (!fs::is_directory(folder, failed) || ::access(folder.c_str(), W_OK) != 0) {
    detail::refuse("OUT", "the folder must exist and be writable", {{"path", asked.output}});
  }
  if (fs::is_directory(asked.output, failed)) {
    detail::refuse("OUT", "the path is a directory", {{"path", asked.output}});
  }
  auto const room = fs::space(folder, failed);
  if (!failed) {
    detail::expects(room.available >= input_bytes, "OUT", "there is no room on the disk", "bytes free", room.available,
                    "needed, about", input_bytes);
  }
}

/// Windows of the calibration text, spread evenly over it.
std::vector<std::vector<engine::token>> windows_of(std::vector<engine::token> const& text, merge_options const& asked,
                                                   engine::hyper_parameters const& s) {
  auto const tokens = static_cast<std::ptrdiff_t>(text.size());
  auto const length = std::min<std::ptrdiff_t>({tokens, asked.window_tokens, s.context});
  auto const count = std::min<std::ptrdiff_t>(asked.windows, tokens / length);
  // A layer's heads side by side are so many channels, and as many rows at least are needed to tell them apart.
  detail::expects((length - asked.skip) * count >= std::ptrdiff_t{s.kv_heads} * s.head_dim, "--calibrate",
                  "the text is too short", "tokens", (length - asked.skip) * count, "needed", s.kv_heads * s.head_dim);
  std::vector<std::vector<engine::token>> windows;
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    auto const first = text.begin() + (count > 1 ? (tokens - length) * i / (count - 1) : 0);
    windows.emplace_back(first, first + length);
  }
  return windows;
}

/// A tensor of the merged model, in the element type asked for; owns its bytes.
class output_tensor {
 public:
  output_tensor(std::string name, engine::weight const& w, std::string const& type) : name_(std::move(name)) {
    tensor_.dimensions = 2;
    tensor_.shape = {static_cast<std::uint64_t>(w.cols()), static_cast<std::uint64_t>(w.rows()), 1, 1};
    auto const values =
        std::span(w.view().data, static_cast<std::size_t>(w.rows()) * static_cast<std::size_t>(w.cols()));
    if (type == "f32") {
      auto const bytes = std::as_bytes(values);
      bytes_.assign(bytes.begin(), bytes.end());
    } else {
      tensor_.type = gguf::tensor_type::f16;
      std::vector<half> halves(values.begin(), values.end());
      for (half const h : halves) {
        detail::expects(std::isfinite(static_cast<float>(h)), "merge-heads",
                        "a merged weight does not fit into f16: ask for --type f32", "tensor", name_);
      }
      auto const bytes = std::as_bytes(std::span(halves));
      bytes_.assign(bytes.begin(), bytes.end());
    }
  }
  gguf::tensor view() const {
    auto t = tensor_;
    t.name = name_;
    t.data = bytes_;
    return t;
  }

 private:
  std::string name_;
  gguf::tensor tensor_{};
  std::vector<std::byte> bytes_;
};

void write(merge_options const& asked, gguf::file const& original, merged_model const& merged) {
  std::vector<output_tensor> tensors;
  for (std::size_t i = 0; i < merged.layers.size(); ++i) {
    auto const& w = merged.layers[i];
    auto const add = [&](char const* part, engine::weight const& weight) {
      tensors.emplace_back("blk." + std::to_string(i) + '.' + part + ".weight", weight, asked.type);
    };
    add("attn_v", w.value);
    add("attn_output", w.attention_output);
    if (merged.shape.merges_at_run_time) {
      add("attn_k_merge", w.key_merge);
      add("attn_q_merge", w.query_merge);
    }
    if (!merged.shape.merges_at_run_time || asked.groups != "adjacent") {  // else they are as they were
      add("attn_k", w.key);
      add("attn_q", w.query);
    }
  }
  gguf::changes what;
  for (auto const& t : tensors) what.tensors.push_back(t.view());
  auto const set = [&](char const* key, int n) { what.metadata.push_back({key, static_cast<std::uint32_t>(n)}); };
  set("llama.attention.head_count_kv", merged.shape.kv_heads);
  if (merged.shape.merges_at_run_time) {
    set("tightkv.key_heads", merged.shape.key_heads);
    set("tightkv.key_dim", merged.shape.key_dim);
  }
  if (merged.shape.values_per_row > 1) {
    set("llama.attention.key_length", merged.shape.head_dim);
    set("llama.attention.value_length", merged.shape.head_dim);
    set("tightkv.values_per_row", merged.shape.values_per_row);
  }
  gguf::write(asked.output, original, what);
}

double relative_error(energy const& e) { return e.total > 0 ? std::sqrt(e.lost / e.total) : 0; }

std::size_t kv_bytes_per_token(engine::hyper_parameters const& s) {
  return 2 * sizeof(half) * static_cast<std::size_t>(s.layers) * static_cast<std::size_t>(s.kv_heads) *
         static_cast<std::size_t>(s.head_dim);
}

ordered_json described(merge_options const& asked, engine::hyper_parameters const& original, merged_model const& merged,
                       std::size_t tokens, double seconds) {
  ordered_json layers = ordered_json::array();
  for (std::size_t i = 0; i < merged.reports.size(); ++i) {
    auto const& r = merged.reports[i];
    layers.push_back({{"layer", i},
                      {"keys_kept", finite(r.keys.kept())},
                      {"values_kept", finite(r.values.kept())},
                      {"predicted_key_error", finite(relative_error(r.keys))},
                      {"predicted_value_error", finite(relative_error(r.values))},
                      {"measured_output_error", finite(relative_error(r.output))},
                      {"refitted_output_error", finite(relative_error(r.refitted))},
                      {"ridge", finite(r.ridge)}});
  }
  return {{"keys", asked.keys},
          {"values", asked.values},
          {"groups", asked.groups},
          {"refit", asked.refit},
          {"ridge", asked.ridge},
          {"type", asked.type},
          {"kv_heads_before", original.kv_heads},
          {"kv_heads_after", asked.kv_heads},
          {"kv_bytes_per_token_before", kv_bytes_per_token(original)},
          {"kv_bytes_per_token_after", kv_bytes_per_token(merged.shape)},
          {"other_engines", !merged.shape.merges_at_run_time},
          {"calibration_tokens", tokens},
          {"kl", finite(merged.kl)},
          {"merge_ms", seconds * 1e3},
          {"layers", layers}};
}

void print(ordered_json const& d, std::string const& path) {
  std::cout << "layer  keys kept  values kept  predicted error: keys  values  measured: attention output  refitted\n"
            << std::fixed << std::setprecision(3);
  for (auto const& l : d["layers"]) {
    auto const number = [&](char const* name) { return l[name].is_null() ? NAN : l[name].get<double>(); };
    std::cout << std::setw(5) << l["layer"].get<int>() << std::setw(11) << number("keys_kept") << std::setw(13)
              << number("values_kept") << std::setw(23) << number("predicted_key_error") << std::setw(8)
              << number("predicted_value_error") << std::setw(28) << number("measured_output_error") << std::setw(10)
              << number("refitted_output_error") << '\n';
  }
  std::cout << "KV cache, bytes a token in f16: " << d["kv_bytes_per_token_before"] << " -> "
            << d["kv_bytes_per_token_after"] << " (" << d["kv_heads_before"] << " -> " << d["kv_heads_after"]
            << " KV heads)\n"
            << "KL of next-token predictions to the original's, on calibration text: "
            << (d["kl"].is_null() ? NAN : d["kl"].get<double>()) << " nats\n"
            << path << ": " << d["calibration_tokens"] << " tokens of calibration, "
            << d["merge_ms"].get<double>() / 1e3 << " s\n"
            << (d["other_engines"].get<bool>()
                    ? "A plain GQA model: any engine that reads GGUF runs it.\n"
                    : "Keys are projected at run time, by tensors that only tightkv's engine reads: llama.cpp, "
                      "transformers and others will not load this file.\n");
}

/// A bar with the time that is left, where somebody is watching.
merge_progress bar_on_a_terminal() {
  if (isatty(STDERR_FILENO) == 0) return [](int, int) {};
  auto const start = std::chrono::steady_clock::now();
  return [start](int layer, int of) {
    constexpr int width = 30;
    double const so_far = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    auto const done = static_cast<std::size_t>(layer * width / of);
    std::cerr << "\r\033[K[" << std::string(done, '#') << std::string(width - done, '.') << "] layer " << layer + 1
              << " of " << of;
    if (layer > 0) std::cerr << ", " << std::lround(so_far / layer * (of - layer)) << " s left";
    std::cerr << std::flush;
  };
}

void merge(merge_options const& asked) {
  std::error_code ignored;
  bool const same = asked.input == asked.output || std::filesystem::equivalent(asked.input, asked.output, ignored);
  detail::expects(!same, "OUT", "must not be the input file", "path", asked.output);
  engine::mapped_file const mapped(asked.input);
  gguf::file const file(mapped.bytes());
  check(asked, engine::read_hyper_parameters(file), mapped.bytes().size());

  engine::thread_pool pool(asked.threads);
  language_model const model(asked.input, pool);
  auto const& shape = model.weights.shape();
  auto const windows = windows_of(model.read_calibration(asked.calibrate), asked, shape);
  std::size_t tokens = 0;
  for (auto const& w : windows) tokens += w.size();

  auto const start = std::chrono::steady_clock::now();
  auto const merged = merge_model(model.weights, pool, windows, asked, bar_on_a_terminal());
  if (isatty(STDERR_FILENO) != 0) std::cerr << "\r\033[K" << std::flush;
  write(asked, file, merged);
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  auto const report = described(asked, shape, merged, tokens, seconds);
  if (asked.json) {
    std::cout << report.dump() << '\n';
  } else {
    print(report, asked.output);
  }
}

}  // namespace

void add_merge_heads(CLI::App& app) {
  auto const asked = std::make_shared<merge_options>();
  auto* const command =
      app.add_subcommand("merge-heads", "Write a model with fewer KV heads, which other engines load.");
  command->add_option("IN", asked->input, "GGUF model")->required();
  command->add_option("OUT", asked->output, "Where the merged model goes")->required();
  command->add_option("--calibrate", asked->calibrate, "Text like what the model will see")
      ->required()
      ->type_name("FILE");
  command->add_option("--kv-heads", asked->kv_heads, "KV heads it is to have; must divide those it has")
      ->required()
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--keys", asked->keys,
                   "alternating, commuting, commuting-query, mean: any engine runs the result. post-rope, layer-wide, "
                   "kq-svd: projected after RoPE, which only tightkv's engine does. Without RoPE: svd, svd-weights, "
                   "kq-svd, mean")
      ->check(CLI::IsMember({"alternating", "commuting", "commuting-query", "post-rope", "layer-wide", "kq-svd", "mean",
                             "svd", "svd-weights"}))
      ->capture_default_str();
  command->add_option("--steps", asked->steps, "Of alternating keys; 0 refits W_Q alone")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command->add_option("--values", asked->values, "How values are merged")
      ->check(CLI::IsMember({"svd", "svd-weights", "output", "mean"}))
      ->capture_default_str();
  command->add_option("--groups", asked->groups, "Which heads become one: neighbours, or those whose keys are alike")
      ->check(CLI::IsMember({"adjacent", "similar"}))
      ->capture_default_str();
  command->add_option("--refit", asked->refit, "Refit W_O to the original's attention output, or residual stream")
      ->check(CLI::IsMember({"none", "output", "residual"}))
      ->capture_default_str();
  command
      ->add_option("--ridge", asked->ridge,
                   "Of the refit, relative to its inputs; 0: each layer's best on held-out text")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--type", asked->type, "Type of the tensors that change")
      ->check(CLI::IsMember({"f32", "f16"}))
      ->capture_default_str();
  command->add_option("--windows", asked->windows, "Calibrate on so many windows of 1024 tokens, spread over the text")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--skip", asked->skip, "Leave out so many tokens at the beginning of each window")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command->add_option("--threads", asked->threads, "Threads")->check(CLI::Range(1, 1024));
  command->add_flag("--json", asked->json, "Print one JSON object");
  command->callback([asked] { merge(*asked); });
}

}  // namespace tightkv::cli
