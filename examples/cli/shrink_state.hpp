// SPDX-License-Identifier: Apache-2.0
/// A saved sequence through a method.
#pragma once

#include <string>

#include <tightkv/core/plan.hpp>
#include <tightkv/interop/llama_state.hpp>
#include <tightkv/ops/token_range.hpp>

#include "method_choice.hpp"
#include "thread_pool.hpp"

namespace tightkv::cli {

/// How a row is cut into heads, and the basis of quantised ones.
struct row_reading {
  int kv_heads = 1;
  llama_state::rotation rotation = llama_state::rotation::stock;
};

/// What a method keeps of the tokens of one stream, and which it would have kept whatever their scores.
struct kept_tokens {
  tightkv::plan plan;
  protected_tokens whatever;
};

/// Throws `bad_argument` for methods that need queries, and where the protected tokens do not fit into what is kept.
kept_tokens keep_of(engine::thread_pool& pool, method_choice const& choice, llama_state::stream const& stream,
                    row_reading const& reading);

/// All of the file or nothing.
void write_state(engine::thread_pool& pool, std::string const& path, llama_state::smaller const& state);

}  // namespace tightkv::cli
