// SPDX-License-Identifier: Apache-2.0
/// Threads for what is measured: awake when the clock starts, as those of an engine at work are. A system may take a
/// millisecond to wake a thread and find a processor for it, longer than most of what is measured.
#pragma once

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <map>
#include <set>
#include <vector>

#include <tightkv/core/thread_pool.hpp>

namespace peers {

/// As many threads as asked for, which live on.
inline tightkv::thread_pool& pool_of(int threads) {
  static std::map<int, tightkv::thread_pool> pools;
  return pools.try_emplace(threads, threads).first->second;
}

/// How long `f` takes, on a pool whose threads have just met, each on a processor of its own.
template <class F>
double milliseconds(tightkv::thread_pool& pool, F const& f) {
  using clock = std::chrono::steady_clock;
  std::vector<std::atomic<int>> processor(static_cast<std::size_t>(pool.threads()));
  for (auto& p : processor) p = -1;
  auto const apart = [&] {
    std::set<int> const seen(processor.begin(), processor.end());
    return seen.size() == processor.size() && !seen.contains(-1);
  };
  auto const late = clock::now() + std::chrono::milliseconds(50);
  pool.run(pool.threads(), [&](int i) {
    while (!apart() && clock::now() < late) processor[static_cast<std::size_t>(i)] = sched_getcpu();
  });
  auto const start = clock::now();
  f();
  return std::chrono::duration<double, std::milli>(clock::now() - start).count();
}

}  // namespace peers
