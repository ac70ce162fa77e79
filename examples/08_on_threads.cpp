// SPDX-License-Identifier: Apache-2.0
/// The library starts no thread: it works on those it is lent. A pool of tightkv's, OpenMP, and an engine's own pool
/// give the same plan as no thread at all.
#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <iostream>
#include <latch>
#include <mutex>
#include <queue>
#include <thread>
#include <utility>
#include <vector>

#include <tightkv/tightkv.hpp>

/// What an engine may have: a queue of tasks.
class engine_pool {
 public:
  explicit engine_pool(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this](std::stop_token const& stop) { serve(stop); });
  }
  void submit(std::function<void()> task) {
    std::scoped_lock const lock{mutex_};
    tasks_.push(std::move(task));
    changed_.notify_all();
  }
  int threads() const { return static_cast<int>(threads_.size()); }

 private:
  void serve(std::stop_token const& stop) {
    std::unique_lock lock{mutex_};
    while (changed_.wait(lock, stop, [this] { return !tasks_.empty(); })) {
      auto const task = std::move(tasks_.front());
      tasks_.pop();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::queue<std::function<void()>> tasks_;
  std::vector<std::jthread> threads_;
};

/// How it is lent: `f(0) ... f(n-1)`, in any order, on any thread, and all are done when this returns.
struct lent {
  engine_pool* pool;

  template <class F>
  void operator()(int n, F&& f) const {
    int const tasks = std::min(n, pool->threads());
    std::latch done{tasks};
    for (int first = 0; first < tasks; ++first) {
      pool->submit([&, first] {
        for (int i = first; i < n; i += tasks) f(i);
        done.count_down();
      });
    }
    done.wait();
  }
};

int main() {
  constexpr int heads = 4, tokens = 3000, head_dim = 64;
  std::vector<float> keys(heads * tokens * head_dim);
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<float>((i * 7919) % 1009) - 504.0F;
  auto const rows = tightkv::hnd(keys.data(), {.heads = heads, .tokens = tokens, .head_dim = head_dim});
  tightkv::kv_view const view{rows, rows};
  auto const decide = [&](auto const& ex) { return tightkv::decide(ex, tightkv::lag_kv{}, view).plan; };
  auto const plan = decide(tightkv::cpu{});  // the calling thread
  bool same = true;

  tightkv::thread_pool pool{2};
  same = same && plan == decide(tightkv::basic_cpu{tightkv::on_pool{pool}});

  engine_pool own{2};
  same = same && plan == decide(tightkv::basic_cpu{lent{&own}});

#if defined(_OPENMP)
  same = same && plan == decide(tightkv::basic_cpu{tightkv::open_mp{2}});
#endif

  std::cout << plan.before(0) << " -> " << plan.after(0) << " tokens, " << (same ? "the same" : "others") << " on "
            << pool.threads() << " threads\n";
  return same ? 0 : 1;
}
