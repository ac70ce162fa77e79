// SPDX-License-Identifier: Apache-2.0
/// The engine's threads. The library starts none: it is lent these. An engine that has a pool of its own lends that
/// (`examples/08_on_threads.cpp`); this one has none and keeps the library's.
#pragma once

#include <tightkv/core/executor.hpp>
#include <tightkv/core/thread_pool.hpp>

namespace engine {

using tightkv::thread_pool;
using lent_pool = tightkv::on_pool<thread_pool>;

/// The library's CPU executor on the engine's threads.
inline auto executor_on(thread_pool& pool) { return tightkv::basic_cpu{lent_pool{pool}}; }

}  // namespace engine
