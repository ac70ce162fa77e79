// SPDX-License-Identifier: Apache-2.0
/// A method at work on one sequence of llama.cpp's, all layers in one call.
#pragma once

#include <variant>

#include <tightkv/interop/llama_state.hpp>
#include <tightkv/scorers/attention_history.hpp>

#include "engine_tap.hpp"
#include "method_choice.hpp"
#include "thread_pool.hpp"

namespace tightkv::llama {

using executor_type = decltype(engine::executor_on(std::declval<engine::thread_pool&>()));

/// Decides what stays, again and again if tokens keep coming.
///
///     compressor method(choice, kv_heads);
///     tap.window = method.query_window();
///     ...                                            // feed
///     auto const plan = method.decide(ex, stream, tap);
///     ...                                            // carry it out, by any route
///     method.carried_out(ex, plan);
///
/// All layers are the heads of one view, so a plan has `layers x kv_heads` heads.
class compressor {
 public:
  compressor(cli::method_choice const& choice, int kv_heads);

  /// How many of the last tokens' queries the method wants to see; `cli::method_choice::all_queries` for all.
  int query_window() const { return choice_.query_window(); }

  /// For methods that add up attention: what was added up while the tokens came, see `observe`.
  void take(attention_history const& so_far);

  plan decide(executor_type const& ex, llama_state::stream const& stream, engine_tap const& tap);
  void carried_out(executor_type const& ex, plan const& done);

 private:
  template <class M>
  struct at_work {
    M method;
    typename M::state state;
  };
  template <class Methods>
  struct any_at_work;
  template <class... M>
  struct any_at_work<std::variant<M...>> {
    using type = std::variant<at_work<M>...>;
  };

  cli::method_choice choice_;
  int kv_heads_;
  any_at_work<cli::any_method>::type work_;
};

/// Adds up the attention of the tokens fed since the last call. To be called before `tap` forgets their queries: a sum
/// per row is kept, never a map.
void observe(executor_type const& ex, attention_history& history, llama_state::stream const& stream, int kv_heads,
             engine_tap const& tap);

}  // namespace tightkv::llama
