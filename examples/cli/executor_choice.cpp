// SPDX-License-Identifier: Apache-2.0
#include "executor_choice.hpp"

#include <string>

#include <tightkv/core/error.hpp>

namespace tightkv::cli {

#if defined(TIGHTKV_CLI_CUDA)
std::string_view const default_executor = "cuda";
constexpr auto known = "this build has cpu, plain and cuda";
#else
std::string_view const default_executor = "cpu";
constexpr auto known = "this build has only cpu and plain";
#endif

layer_compressor compressor_named(std::string_view executor, engine::thread_pool& pool) {
  engine::lent_pool const lent{pool};
  auto const on = [](auto const& ex) { return [ex](auto const&... given) { return compress_layer(ex, given...); }; };
  if (executor == "cpu") return on(executor_type{lent});
  if (executor == "plain") return on(plain_executor_type{lent});
#if defined(TIGHTKV_CLI_CUDA)
  if (executor == "cuda") return compress_layer_on_device;
#endif
  detail::refuse("--executor", known, {{"executor", std::string(executor)}});
}

}  // namespace tightkv::cli
