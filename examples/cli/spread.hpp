// SPDX-License-Identifier: Apache-2.0
/// Threads for a program that is over in milliseconds.
#pragma once

#include <atomic>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

#include "thread_pool.hpp"

namespace tightkv::cli {

/// Wakes all threads of a pool that is not in use, and gives each processors that no other of them has. Schedulers take
/// several milliseconds to notice that two busy threads share one processor while another is idle.
inline void spread(engine::thread_pool& pool) {
#ifdef __linux__
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;  // more processors than the set has room for
  int const threads = pool.threads(), processors = CPU_COUNT(&allowed);
  std::atomic<int> here = 0;
  pool.run(threads, [&](int thread) {
    for (++here; here < threads;) std::this_thread::yield();  // so that nobody comes twice
    cpu_set_t own;
    CPU_ZERO(&own);
    for (int cpu = 0, i = 0; i < processors; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      if (i % threads == thread % processors) CPU_SET(cpu, &own);
      ++i;
    }
    ::sched_setaffinity(0, sizeof own, &own);
  });
#endif
}

}  // namespace tightkv::cli
