// SPDX-License-Identifier: Apache-2.0
/// Threads that can be lent to an executor: what is true of a pool and of OpenMP alike. This file alone is compiled
/// with OpenMP, where the compiler has it.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/core/open_mp.hpp>
#include <tightkv/core/thread_pool.hpp>

namespace {

struct pool_of_ours {
  explicit pool_of_ours(int threads) : pool(std::make_unique<tightkv::thread_pool>(threads)) {}

  template <class F>
  void operator()(int n, F&& f) const {
    tightkv::on_pool{*pool}(n, f);
  }

  std::unique_ptr<tightkv::thread_pool> pool;
};

#if defined(_OPENMP)
using all_threads = ::testing::Types<pool_of_ours, tightkv::open_mp>;
#else
using all_threads = ::testing::Types<pool_of_ours>;
#endif
struct names {
  template <class T>
  static std::string GetName(int) {
    return std::is_same_v<T, pool_of_ours> ? "thread_pool" : "open_mp";
  }
};

template <class T>
struct threads : ::testing::Test {};
TYPED_TEST_SUITE(threads, all_threads, names);

TYPED_TEST(threads, call_each_index_once) {
  for (int const count : {1, 2, 3, 7}) {
    TypeParam const run(count);
    for (int repeat = 0; repeat < 8; ++repeat) {
      for (int const n : {0, 1, 2, 5, 100}) {
        std::vector<std::atomic<int>> calls(static_cast<std::size_t>(n));
        run(n, [&](int i) { ++calls[static_cast<std::size_t>(i)]; });
        ASSERT_TRUE(std::all_of(calls.begin(), calls.end(), [](auto const& c) { return c == 1; })) << count << ' ' << n;
      }
    }
  }
}

TYPED_TEST(threads, are_as_many_as_asked_for_and_the_caller_is_one) {
  for (int const count : {1, 3}) {
    TypeParam const run(count);
    std::mutex mutex;
    std::set<std::thread::id> seen;
    std::atomic<int> inside = 0;
    for (int repeat = 0; repeat < 20; ++repeat) {
      run(40, [&](int) {
        EXPECT_LE(++inside, count);
        std::this_thread::yield();
        std::scoped_lock const lock{mutex};
        seen.insert(std::this_thread::get_id());
        --inside;
      });
    }
    EXPECT_LE(seen.size(), static_cast<std::size_t>(count));
    if (count == 1) {
      EXPECT_EQ(seen, std::set{std::this_thread::get_id()});
    }
  }
}

TYPED_TEST(threads, work_at_the_same_time) {
  TypeParam const run(2);
  std::atomic<int> here = 0;
  std::atomic<int> met = 0;
  run(2, [&](int) {  // neither call returns before the other has begun, or long has passed
    ++here;
    auto const late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (here < 2 && std::chrono::steady_clock::now() < late) std::this_thread::yield();
    met += here == 2;
  });
  EXPECT_EQ(met, 2);
}

TYPED_TEST(threads, bring_an_exception_back_and_go_on_afterwards) {
  for (int const count : {1, 2, 7}) {
    TypeParam const run(count);
    for (int const thrower : {0, 1, 63}) {
      std::atomic<int> calls = 0;
      auto const one_throws = [&](int i) {
        ++calls;
        if (i == thrower) throw std::runtime_error("of call " + std::to_string(i));
      };
      try {
        run(64, one_throws);
        ADD_FAILURE() << "nothing was thrown";
      } catch (std::runtime_error const& e) {
        EXPECT_EQ(e.what(), "of call " + std::to_string(thrower));
      }
      EXPECT_LE(calls, 64);
      EXPECT_THROW(run(64, [](int) { throw std::runtime_error("all at once"); }), std::runtime_error);
      calls = 0;
      run(10, [&](int) { ++calls; });
      EXPECT_EQ(calls, 10);
    }
  }
}

TYPED_TEST(threads, may_be_asked_for_from_within) {
  TypeParam const run(3);
  std::atomic<int> calls = 0;
  run(5, [&](int) { run(4, [&](int) { run(2, [&](int) { ++calls; }); }); });
  EXPECT_EQ(calls, 40);
}

TYPED_TEST(threads, may_be_asked_for_by_several_threads_at_once) {
  TypeParam const run(2);
  std::atomic<int> calls = 0;
  {
    std::vector<std::jthread> askers;
    for (int a = 0; a < 4; ++a) {
      askers.emplace_back([&] {
        for (int repeat = 0; repeat < 50; ++repeat) run(3, [&](int) { ++calls; });
      });
    }
  }
  EXPECT_EQ(calls, 600);
}

TYPED_TEST(threads, are_refused_when_there_are_none_or_too_many) {
  EXPECT_THROW(TypeParam(0), tightkv::bad_argument);
  EXPECT_THROW(TypeParam(-1), tightkv::bad_argument);
  EXPECT_THROW(TypeParam(1025), tightkv::bad_argument);
}

TEST(thread_pool, knows_its_size) { EXPECT_EQ(tightkv::thread_pool(3).threads(), 3); }

}  // namespace
