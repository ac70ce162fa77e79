// SPDX-License-Identifier: Apache-2.0
#include "shrink_state.hpp"

#include <algorithm>
#include <concepts>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <tightkv/methods/compress.hpp>
#include <tightkv/view/kv_view.hpp>

namespace tightkv::cli {
namespace {

/// Rows of any type, in the model's basis.
using any_rows = kv_view<llama_state::decoded_rows, llama_state::decoded_rows>;
/// Methods that look at the lengths and angles of keys, or at nothing: values do not matter to them, nor does the
/// basis.
template <class M>
constexpr bool sees_keys_from_outside = std::same_as<M, l2_norm> || std::same_as<M, key_diff> ||
                                        std::same_as<M, streaming_llm> || std::same_as<M, random_eviction>;

/// First and last tokens that the method never judges.
template <class M>
protected_tokens protected_by(M const& method, int tokens) {
  int const sink = std::min(method.sink, tokens);
  if constexpr (requires { method.lag; }) {
    int const judged = std::max(0, (tokens - sink) / method.lag - 1) * method.lag;
    return {sink, tokens - sink - judged};
  } else if constexpr (requires { method.recent; }) {
    return {sink, std::min(method.recent, tokens)};
  } else {
    return {sink, 0};
  }
}

/// A fraction of all tokens must have room for the protected ones: a file that is not as small as asked for is a
/// surprise.
template <class M>
void check_room(M const& method, plan const& p) {
  if constexpr (requires { method.budget; }) {
    auto const* const ratio = std::get_if<keep_ratio>(&method.budget);
    if (ratio == nullptr) return;
    int const asked = ratio->part_of(p.before(0));
    if (asked >= 1 && p.after(0) <= asked) return;
    detail::refuse(method.info.name, "the protected tokens do not fit into what is kept",
                   {{"tokens", p.before(0)}, {"kept", asked}, {"protected", p.after(0)}});
  }
}

/// Maps the pages of a file that are not yet: what is fetched ahead from one that is not mapped does not come.
void map_pages(std::span<std::byte const> bytes) {
  constexpr std::size_t page = 4096;
  auto const* const volatile_bytes = static_cast<std::byte const volatile*>(bytes.data());
  for (std::size_t i = 0; i < bytes.size(); i += page) static_cast<void>(volatile_bytes[i]);
}

}  // namespace

layer_chooser chooser_of(method_choice const& choice, llama_state::stream const& stream, row_reading const& reading) {
  auto const plans_by = [&]<class M>(M const& method) {
    int const heads = reading.kv_heads;
    auto const keys = llama_state::planes_of<half>(stream, &llama_state::layer::keys, heads);
    std::vector<plane<half const>> values;
    if constexpr (!sees_keys_from_outside<M>) {
      values = llama_state::planes_of<half>(stream, &llama_state::layer::values, heads);
    }
    return [&stream, &method, reading, heads, keys, values](std::size_t l) {
      map_pages(stream.layers[l].keys.bytes);
      if constexpr (!sees_keys_from_outside<M>) map_pages(stream.layers[l].values.bytes);
      auto const decided = [&](auto const& view) {
        auto p = decide(cpu{}, method, view).plan;
        check_room(method, p);
        return p;
      };
      auto const decoded = [&](llama_state::tensor llama_state::layer::*which, llama_state::rotation rotation) {
        return llama_state::decoded_rows(stream, std::span(stream.layers).subspan(l, 1), which, heads, rotation);
      };
      if constexpr (sees_keys_from_outside<M>) {
        if (!keys.empty()) return decided(kv_view{keys[l]});
        return decided(kv_view{decoded(&llama_state::layer::keys, llama_state::rotation::none)});
      } else {
        if (!keys.empty() && !values.empty()) return decided(kv_view{keys[l], values[l]});
        return decided(any_rows{decoded(&llama_state::layer::keys, reading.rotation),
                                decoded(&llama_state::layer::values, reading.rotation)});
      }
    };
  };
  return std::visit(
      [&]<class M>(M const& method) -> layer_chooser {
        if constexpr (method_for<M, cpu, any_rows>) {
          return {plans_by(method), protected_by(method, stream.tokens())};
        } else {
          detail::refuse(method.info.name, "looks at queries, which a saved state does not have",
                         {{"needs", std::string(method.info.needs)}});
        }
      },
      choice.method());
}

stream_plan::stream_plan(engine::thread_pool& pool, layer_chooser const& chooser, llama_state::stream const& stream,
                         plan& all)
    : chooser_(&chooser),
      decided_(std::min(stream.layers.size(), static_cast<std::size_t>(pool.threads()))),
      all_(&all),
      nans_(stream.layers.size()) {
  std::vector<plan> first(decided_);
  pool.run(static_cast<int>(decided_), [&](int l) {
    auto const i = static_cast<std::size_t>(l);
    first[i] = chooser.plan_of(i);
  });
  auto const heads = stream.layers.size() * static_cast<std::size_t>(first.front().heads());
  all = plan(std::vector<int>(heads, stream.tokens()), std::vector<int>(heads, first.front().after(0)));
  for (std::size_t l = 0; l < decided_; ++l) fill_in(l, first[l]);
}

void stream_plan::decide(std::size_t layer) {
  if (layer >= decided_) fill_in(layer, chooser_->plan_of(layer));
}

void stream_plan::fill_in(std::size_t layer, plan const& of_layer) {
  for (int h = 0; h < of_layer.heads(); ++h) {
    detail::expects(of_layer.after(h) == all_->after(0), "shrink",
                    "all heads of all layers must keep the same number of tokens", "kept", of_layer.after(h), "first",
                    all_->after(0));
    std::ranges::copy(of_layer.kept(h), all_->kept(static_cast<int>(layer) * of_layer.heads() + h).begin());
  }
  nans_[layer] = of_layer.nan_scores;
}

}  // namespace tightkv::cli
