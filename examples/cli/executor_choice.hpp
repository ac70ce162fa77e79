// SPDX-License-Identifier: Apache-2.0
/// What `--executor` names.
#pragma once

#include <functional>
#include <string_view>

#include "compress_layer.hpp"

namespace tightkv::cli {

/// Compresses layers somewhere: method, layer, tokens at a time.
using layer_compressor = std::function<compressed_layer(method_choice const&, dumped_layer const&, int)>;

/// What runs where nobody asks for anything else: "cpu", or "cuda" where the command is built with it.
extern std::string_view const default_executor;

/// Throws `bad_argument` for a name that this build does not have. The pool must outlive what is returned.
layer_compressor compressor_named(std::string_view executor, engine::thread_pool& pool);

}  // namespace tightkv::cli
