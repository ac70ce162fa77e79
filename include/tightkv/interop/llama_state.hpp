// SPDX-License-Identifier: Apache-2.0
/// Saved llama.cpp sequences: read, viewed, and written with fewer tokens, for an unmodified llama.cpp to go on from.
///
///     auto const state = tightkv::llama_state::parse(bytes);           // of llama_state_seq_get_data, or a slot file
///     auto const& stream = state.base.streams[0];
///     tightkv::kv_view view{tightkv::llama_state::keys_of(stream, kv_heads), tightkv::llama_state::values_of(stream, kv_heads)};
///     std::vector const plans{tightkv::decide(ex, tightkv::key_diff{}, view).plan};
///     tightkv::llama_state::smaller const after{state, plans};
///     std::vector<std::byte> small(after.size());
///     after.write(ex, small);                                          // for llama_state_seq_set_data
///
/// Needs nothing of llama.cpp's. Afterwards the sequence goes on at the position it had reached; what touches positions
/// below that (context shift, rewinding, reusing a prefix) no longer fits the rows.
#pragma once

// IWYU pragma: begin_exports
#include <tightkv/interop/llama_state_format.hpp>
#include <tightkv/interop/llama_state_reader.hpp>
#include <tightkv/interop/llama_state_view.hpp>
#include <tightkv/interop/llama_state_writer.hpp>
// IWYU pragma: end_exports
