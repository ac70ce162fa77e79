// SPDX-License-Identifier: Apache-2.0
/// What a model file says about a saved cache: the KV heads in a row, and whether its tokens may be dropped at all.
#pragma once

#include <tightkv/interop/gguf.hpp>
#include <tightkv/interop/llama_state.hpp>

namespace tightkv::cli {

/// The number of KV heads in the rows of the state's base section.
///
/// Throws `bad_argument` for models whose attention looks at more than a mask (ALiBi, T5, chunks, M-RoPE), for
/// recurrent and MLA models, and when the state cannot be this model's.
int kv_heads_of(gguf::file const& model, llama_state::contents const& state);

}  // namespace tightkv::cli
