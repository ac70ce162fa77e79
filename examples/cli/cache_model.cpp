// SPDX-License-Identifier: Apache-2.0
#include "cache_model.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tightkv::cli {
namespace {

/// Metadata of the model's architecture.
class traits {
 public:
  explicit traits(gguf::file const& model)
      : model_(model), name_(model.get<std::string_view>("general.architecture")) {}

  std::string_view name() const noexcept { return name_; }
  bool is_one_of(auto const& names) const { return std::ranges::find(names, name_) != names.end(); }
  bool has(std::string_view key) const { return model_.find(full(key)) != nullptr; }
  bool has_any(std::string_view prefix) const {
    auto const wanted = full(prefix);
    return std::ranges::any_of(model_.metadata(), [&](auto const& e) { return e.key.starts_with(wanted); });
  }
  float real(std::string_view key) const { return model_.get_or(full(key), 0.0F); }
  int number(std::string_view key, int otherwise) const { return model_.get_or(full(key), otherwise); }
  /// A number for all layers, or one for each.
  std::vector<int> numbers(std::string_view key) const {
    auto const* const value = model_.find(full(key));
    if (value != nullptr && std::holds_alternative<gguf::array>(*value)) return model_.get_vector<int>(full(key));
    return {number(key, 0)};
  }

 private:
  std::string full(std::string_view key) const { return std::string(name_).append(".").append(key); }

  gguf::file const& model_;
  std::string_view name_;
};

constexpr std::array<std::string_view, 3> alibi{"bloom", "refact", "jina-bert-v2"};  // their files do not say so
constexpr std::array<std::string_view, 5> recurrent{"lfm2", "lfm2moe", "minimax-01", "kimi-linear", "plamo2"};

/// The rule that forbids to drop tokens of this model, or nothing.
std::string_view objection_to(traits const& model) {
  if (model.is_one_of(alibi) || model.real("attention.max_alibi_bias") > 0 ||
      (model.name() == "baichuan" && model.number("block_count", 0) == 40)) {
    return "models with ALiBi see the distance between tokens, which dropping some changes";
  }
  if (model.has("attention.relative_buckets_count")) {
    return "models with T5's position buckets see the distance between tokens, which dropping some changes";
  }
  if (model.has("rope.dimension_sections")) return "models with M-RoPE have positions that cannot be relabelled";
  if (model.name() == "llama4") return "models with chunked attention are not supported";
  if (model.has("attention.key_length_mla")) return "models with MLA are not supported";
  if (model.has_any("ssm.") || model.has_any("wkv.") || model.is_one_of(recurrent)) {
    return "recurrent and hybrid models are not supported";
  }
  return {};
}

}  // namespace

int kv_heads_of(gguf::file const& file, llama_state::contents const& state) {
  traits const model(file);
  if (auto const rule = objection_to(model); !rule.empty()) {
    detail::refuse("--model", rule, {{"architecture", model.name().substr(0, 64)}});
  }
  int const query_heads = model.number("attention.head_count", 0);
  detail::expects(query_heads >= 1, "--model", "says nothing about attention heads", "head_count", query_heads);
  int const head_dim = model.number("attention.key_length", model.number("embedding_length", 0) / query_heads);
  auto const heads =
      model.has("attention.head_count_kv") ? model.numbers("attention.head_count_kv") : std::vector{query_heads};
  for (auto const& s : state.base.streams) {
    if (s.layers.empty()) continue;
    auto const width = s.layers.front().keys.width;
    // Layers may differ; those of this section are the ones whose rows are as wide.
    auto const fits = [&](int h) {
      return h >= 1 && head_dim >= 1 && static_cast<std::size_t>(h) * static_cast<std::size_t>(head_dim) == width;
    };
    auto const found = std::ranges::find_if(heads, fits);
    auto const layers = s.layers.size() + (state.window.streams.empty() ? 0 : 1);
    if (found == heads.end() || layers > static_cast<std::size_t>(std::max(0, model.number("block_count", 0)))) {
      detail::refuse("--model", "is not the model of this state",
                     {{"row width", width},
                      {"head_dim", head_dim},
                      {"KV heads", heads.empty() ? 0 : heads.front()},
                      {"layers", s.layers.size()},
                      {"of the model", model.number("block_count", 0)}});
    }
    return *found;
  }
  detail::refuse("shrink", "the state has no tokens");
}

}  // namespace tightkv::cli
