// SPDX-License-Identifier: Apache-2.0
/// A few threads that their owner keeps and lends: for programs that have no pool of their own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <vector>

#include <tightkv/core/error.hpp>

namespace tightkv {

/// `run(n, f)` calls `f(0) ... f(n-1)`, each once, in any order, on `threads` threads of which the caller is one, and
/// returns when all are done.
///
///     tightkv::thread_pool pool{4};                         // three more threads, until it goes out of scope
///     tightkv::basic_cpu const ex{tightkv::on_pool{pool}};  // an executor for every op and method
///     pool.run(layers, [&](int layer) { ... });             // or for work of your own
///
/// If `f` throws, calls that have not begun are left out, and one of the exceptions reaches the caller. A `run` inside
/// `f`, or while another thread's is under way, is serial, on the thread that asks: nothing waits for a thread that
/// waits for it, and there are never more threads than were asked for. Idle threads look for more work for some 50 us,
/// then they sleep.
class thread_pool {
 public:
  /// Throws `bad_argument` unless 1 <= threads <= 1024.
  explicit thread_pool(int threads) {
    detail::expects(1 <= threads && threads <= 1024, "thread_pool", "threads must be in [1, 1024]", "threads", threads);
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this](std::stop_token const& stop) { serve(stop); });
  }

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  template <class F>
  void run(int n, F&& f) {
    if (n <= 1 || workers_.empty() || taken_.exchange(true)) {
      for (int i = 0; i < n; ++i) f(i);
      return;
    }
    using function = std::remove_reference_t<F>;
    job one{const_cast<void*>(static_cast<void const*>(std::addressof(f))),
            [](void* g, int i) { (*static_cast<function*>(g))(i); }, n};
    lead(one);
    taken_ = false;
    if (one.failure) std::rethrow_exception(one.failure);
  }

 private:
  struct job {
    void* f;
    void (*call)(void*, int);
    int size;
    std::atomic<int> next = 0;
    std::exception_ptr failure = nullptr;
  };

  /// Opens a job, takes part in it, closes it, and waits for those who came.
  void lead(job& one) {
    {
      std::scoped_lock const lock{mutex_};
      job_ = &one;
      ++round_;
    }
    wake_.notify_all();
    work(one);
    std::unique_lock lock{mutex_};
    job_ = nullptr;  // a thread that wakes now has come too late, and nobody waits for it
    lock.unlock();
    linger([this] { return busy_ == 0; });
    lock.lock();
    done_.wait(lock, [this] { return busy_ == 0; });
  }

  void serve(std::stop_token const& stop) {
    for (int seen = 0;;) {
      linger([&] { return round_ != seen || stop.stop_requested(); });
      std::unique_lock lock{mutex_};
      if (!wake_.wait(lock, stop, [&] { return round_ != seen; })) return;
      seen = round_;
      if (job_ == nullptr) continue;
      job& one = *job_;
      ++busy_;
      lock.unlock();
      work(one);
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  void work(job& one) {
    try {
      for (int i = one.next++; i < one.size; i = one.next++) one.call(one.f, i);
    } catch (...) {
      one.next = one.size;
      std::scoped_lock const lock{mutex_};
      one.failure = std::current_exception();
    }
  }

  /// Waking a thread takes longer than many a kernel runs.
  template <class P>
  static void linger(P const& until) {
    for (int i = 0; i < 200 && !until(); ++i) std::this_thread::yield();
  }

  std::atomic<bool> taken_ = false;  // by a run
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::condition_variable done_;
  job* job_ = nullptr;
  std::atomic<int> round_ = 0;         // changes with the mutex held, and is looked at without
  std::atomic<int> busy_ = 0;          // threads in a job, its leader left out
  std::vector<std::jthread> workers_;  // last: they end before what they use is gone
};

/// Lends a pool to an executor: tightkv's, or any that has such a `run(n, f)`. It must outlive the executor.
///
///     tightkv::basic_cpu const ex{tightkv::on_pool{pool}};
template <class Pool>
class on_pool {
 public:
  explicit on_pool(Pool& pool) : pool_(&pool) {}

  template <class F>
  void operator()(int n, F&& f) const {
    pool_->run(n, f);
  }

 private:
  Pool* pool_;
};

}  // namespace tightkv
