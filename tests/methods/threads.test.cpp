// SPDX-License-Identifier: Apache-2.0
/// What a method decides, with the fast kernels, does not depend on the number of threads.
#include <support/unoptimised.hpp>

#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/core/thread_pool.hpp>
#include <tightkv/methods/all.hpp>
#include <tightkv/methods/compress.hpp>

#include <support/method_laws.hpp>

namespace threads_test {

using namespace tests;

/// A pool of any size, in one type: every method is compiled for it.
struct lent {
  tightkv::thread_pool* pool;

  template <class F>
  void operator()(int n, F&& f) const {
    pool->run(n, std::function<void(int)>(std::ref(f)));
  }
};

template <class M>
outcome compressed(engine_memory& cache, int threads) {
  tightkv::thread_pool pool(threads);
  typename M::state state;
  auto const d = tightkv::compress(tightkv::basic_cpu{lent{&pool}}, method_facts<M>::make(), cache.float_view(), state,
                                   cache.position_rows());
  return outcome_of(d.plan, d.scores);
}

template <class M>
void expect_threads_change_nothing() {
  SCOPED_TRACE(std::string(M::info.name));
  auto const content = random_layer({.kv_heads = 3, .group = 2, .tokens = 700, .head_dim = 32});
  engine_memory serial(content);
  auto const expected = compressed<M>(serial, 1);
  EXPECT_TRUE(expected.plan.evicts());
  for (int const threads : {2, 3, 7}) {
    engine_memory cache(content);
    EXPECT_EQ(compressed<M>(cache, threads), expected) << threads << " threads";
    EXPECT_TRUE(same_bytes(cache, serial)) << threads << " threads";
  }
}

TEST(methods, decide_and_move_the_same_whatever_the_number_of_threads) {
  std::apply([](auto const&... m) { (expect_threads_change_nothing<std::decay_t<decltype(m)>>(), ...); },
             tightkv::all_methods{});
}

}  // namespace threads_test
