// SPDX-License-Identifier: Apache-2.0
/// What `--executor` names.
#pragma once

#include <string_view>
#include <variant>

#include <tightkv/core/error.hpp>
#include <tightkv/core/executor.hpp>

#include "thread_pool.hpp"

namespace tightkv::cli {

/// The library on the command's threads, and its specification on the same.
using executor_type = basic_cpu<engine::lent_pool>;
using plain_executor_type = basic_plain_cpu<engine::lent_pool>;

using executor_choice = std::variant<executor_type, plain_executor_type>;

inline executor_choice executor_named(std::string_view name, engine::thread_pool& pool) {
  if (name == "cpu") return executor_type{engine::lent_pool{&pool}};
  if (name == "plain") return plain_executor_type{engine::lent_pool{&pool}};
  detail::refuse("--executor", "this build has only cpu and plain", {{"executor", name}});
}

}  // namespace tightkv::cli
