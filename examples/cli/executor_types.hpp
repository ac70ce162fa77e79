// SPDX-License-Identifier: Apache-2.0
/// The CPU executors of the command.
#pragma once

#include <tightkv/core/executor.hpp>

#include "thread_pool.hpp"

namespace tightkv::cli {

/// The library on the command's threads, and its specification on the same.
using executor_type = basic_cpu<engine::lent_pool>;
using plain_executor_type = basic_plain_cpu<engine::lent_pool>;

}  // namespace tightkv::cli
