// SPDX-License-Identifier: Apache-2.0
/// Everything that needs neither CUDA nor Eigen.
#pragma once

// IWYU pragma: begin_exports
#include <tightkv/budgets/budget.hpp>
#include <tightkv/core/error.hpp>
#include <tightkv/core/executor.hpp>
#include <tightkv/core/half.hpp>
#include <tightkv/core/kernel.hpp>
#include <tightkv/core/matrix.hpp>
#include <tightkv/core/open_mp.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/core/thread_pool.hpp>
#include <tightkv/methods/all.hpp>
#include <tightkv/methods/compress.hpp>
#include <tightkv/ops/freed_pages.hpp>
#include <tightkv/ops/gather.hpp>
#include <tightkv/ops/gram_update.hpp>
#include <tightkv/ops/project_heads.hpp>
#include <tightkv/version.hpp>
#include <tightkv/view/batch.hpp>
#include <tightkv/view/layouts.hpp>
// IWYU pragma: end_exports
