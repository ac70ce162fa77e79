// SPDX-License-Identifier: Apache-2.0
/// The engine's threads. The library starts none: it is lent these.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <tightkv/core/error.hpp>
#include <tightkv/core/executor.hpp>

namespace engine {

/// `run(n, f)` calls `f(0) ... f(n-1)`, each once, on `threads` threads of which the caller is one, and returns when
/// all are done. An exception from `f` reaches the caller. One `run` at a time, and none from inside `f`.
///
///     engine::thread_pool pool{2};
///     pool.run(heads, [&](int head) { ... });
class thread_pool {
 public:
  explicit thread_pool(int threads) {
    tightkv::detail::expects(1 <= threads && threads <= 1024, "thread_pool", "threads must be in [1, 1024]", "threads",
                             threads);
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this](std::stop_token stop) { serve(stop); });
  }

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  template <class F>
  void run(int n, F&& f) {
    if (n <= 1 || workers_.empty()) {
      for (int i = 0; i < n; ++i) f(i);
      return;
    }
    {
      std::scoped_lock const lock{mutex_};
      job_ = std::ref(f);
      size_ = n;
      next_ = 0;
      busy_ = static_cast<int>(workers_.size());
      failure_ = nullptr;
      ++round_;
    }
    wake_.notify_all();
    work();
    std::unique_lock lock{mutex_};
    done_.wait(lock, [this] { return busy_ == 0; });
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void serve(std::stop_token const& stop) {
    for (long seen = 0;;) {
      {
        std::unique_lock lock{mutex_};
        if (!wake_.wait(lock, stop, [&] { return round_ != seen; })) return;
        seen = round_;
      }
      work();
      std::scoped_lock const lock{mutex_};
      if (--busy_ == 0) done_.notify_one();
    }
  }

  void work() {
    try {
      for (int i = next_++; i < size_; i = next_++) job_(i);
    } catch (...) {
      std::scoped_lock const lock{mutex_};
      failure_ = std::current_exception();
      next_ = size_;
    }
  }

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::condition_variable done_;
  std::function<void(int)> job_;
  std::atomic<int> next_ = 0;
  int size_ = 0;
  int busy_ = 0;
  long round_ = 0;
  std::exception_ptr failure_;
  std::vector<std::jthread> workers_;  // last: they stop before what they use is gone
};

/// Lends a pool to the library. A struct and not a lambda: an executor can be assigned.
struct lent_pool {
  thread_pool* pool;

  template <class F>
  void operator()(int n, F&& f) const {
    pool->run(n, f);
  }
};

/// The library's CPU executor on the engine's threads.
inline auto executor_on(thread_pool& pool) { return tightkv::basic_cpu{lent_pool{&pool}}; }

}  // namespace engine
