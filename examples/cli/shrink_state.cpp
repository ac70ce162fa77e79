// SPDX-License-Identifier: Apache-2.0
#include "shrink_state.hpp"

#include <algorithm>
#include <concepts>
#include <string>
#include <utility>
#include <variant>

#include <tightkv/methods/compress.hpp>
#include <tightkv/view/batch.hpp>
#include <tightkv/view/kv_view.hpp>

namespace tightkv::cli {
namespace {

/// Rows of any type, in the model's basis.
using any_rows = kv_view<llama_state::decoded_rows, llama_state::decoded_rows>;
/// What llama.cpp has unless told otherwise, and so worth its own code.
using half_rows = batch<plane<half const>>;

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

}  // namespace

kept_tokens keep_of(executor_type const& ex, method_choice const& choice, llama_state::stream const& stream,
                    row_reading const& reading) {
  auto const plan_of = [&]<class M>(M const& method) {
    auto const decided = [&](auto const& view) { return decide(ex, method, view).plan; };
    int const heads = reading.kv_heads;
    auto const keys = llama_state::planes_of<half>(stream, &llama_state::layer::keys, heads);
    if constexpr (sees_keys_from_outside<M>) {
      if (!keys.empty()) return decided(kv_view{half_rows(keys)});
      return decided(kv_view{keys_of(stream, heads, llama_state::rotation::none)});
    } else {
      auto const values = llama_state::planes_of<half>(stream, &llama_state::layer::values, heads);
      if (!keys.empty() && !values.empty()) return decided(kv_view{half_rows(keys), half_rows(values)});
      return decided(any_rows{keys_of(stream, heads, reading.rotation), values_of(stream, heads, reading.rotation)});
    }
  };
  return std::visit(
      [&]<class M>(M const& method) -> kept_tokens {
        if constexpr (method_for<M, executor_type, any_rows>) {
          auto kept = plan_of(method);
          check_room(method, kept);
          return {std::move(kept), protected_by(method, stream.tokens())};
        } else {
          detail::refuse(method.info.name, "looks at queries, which a saved state does not have",
                         {{"needs", std::string(method.info.needs)}});
        }
      },
      choice.method());
}

}  // namespace tightkv::cli
