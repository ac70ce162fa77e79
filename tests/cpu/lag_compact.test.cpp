// SPDX-License-Identifier: Apache-2.0
/// LagKV in one pass gives the scores, the plan and the bytes of the three plain steps, and fails before it starts.
#include <support/unoptimised.hpp>

#include <cstddef>
#include <limits>
#include <memory_resource>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <support/instruction_sets.hpp>
#include <support/layouts.hpp>
#include <tightkv/methods/compress.hpp>
#include <tightkv/methods/lag_kv.hpp>

namespace lag_compact_test {

using namespace tests;

struct lag_case {
  std::vector<int> lengths;
  int head_dim;
  int lag;
  int quota;
  int first = 3;
  float value_weight = 1.0F;
};

/// What a call leaves behind.
struct aftermath {
  tightkv::matrix<float> scores;
  tightkv::plan plan;
  std::vector<std::byte> keys, values, positions;
};

/// Compacts keys, values and a plane of positions, laid out afresh. With `Values` false there are no values.
template <class T, class Layout, bool Values = true, class Exec>
aftermath compacted(Exec const& ex, lag_case const& c, rows const& k, rows const& v) {
  cache<Layout> keys(k);
  cache<Layout> values(v);
  cache<Layout> positions(random_rows<std::byte>({c.lengths, 4}, 3));
  std::vector<int> const first(c.lengths.size(), c.first);
  tightkv::lag_compact_fn::parameters const p{{first, c.lag}, c.value_weight, c.quota};
  aftermath a{{static_cast<int>(c.lengths.size()), k.longest(), -77.0F},
              tightkv::partition_top_k{c.quota}.room(ex, c.lengths, p.partitions),
              {},
              {},
              {}};
  if constexpr (Values) {
    tightkv::kv_view const view(keys.template plane<T>(), values.template plane<T>());
    tightkv::lag_compact(ex, view, p, a.scores.view(), a.plan, positions.template plane<std::byte>());
  } else {
    tightkv::kv_view const view(keys.template plane<T>());
    tightkv::lag_compact(ex, view, p, a.scores.view(), a.plan, positions.template plane<std::byte>());
  }
  a.keys = keys.memory();
  a.values = values.memory();
  a.positions = positions.memory();
  return a;
}

void expect_same(aftermath const& fast, aftermath const& plain) {
  EXPECT_EQ(fast.plan, plain.plan);
  EXPECT_EQ(fast.plan.nan_scores, plain.plan.nan_scores);
  for (int h = 0; h < plain.scores.rows(); ++h) {
    for (int t = 0; t < plain.scores.cols(); ++t) {
      ASSERT_TRUE(same(fast.scores(h, t), plain.scores(h, t))) << "head " << h << ", token " << t;
    }
  }
  EXPECT_TRUE(fast.keys == plain.keys && fast.values == plain.values && fast.positions == plain.positions);
}

template <class T, class Layout, bool Values = true>
void expect_as_plain(lag_case const& c, rows const& k, rows const& v) {
  SCOPED_TRACE(testing::Message() << k.longest() << " x " << c.head_dim << ", lag " << c.lag << ", first " << c.first
                                  << ", quota " << c.quota << ", value weight " << c.value_weight);
  auto const plain = compacted<T, Layout, Values>(tightkv::plain_cpu{}, c, k, v);
  for (auto const set : instruction_sets()) {
    SCOPED_TRACE(testing::Message() << "instruction set " << static_cast<int>(set));
    expect_same(compacted<T, Layout, Values>(tightkv::cpu{}.with(set), c, k, v), plain);
  }
}

template <class T, class Layout = hnd_layout>
void expect_as_plain(lag_case const& c) {
  expect_as_plain<T, Layout>(c, random_rows<T>({c.lengths, c.head_dim}, 1), random_rows<T>({c.lengths, c.head_dim}, 2));
}

template <class T>
struct fast_lag_compact : ::testing::Test {};
TYPED_TEST_SUITE(fast_lag_compact, elements, element_names);

TYPED_TEST(fast_lag_compact, is_the_three_plain_steps) {
  for (int const head_dim : {33, 128}) {
    for (int const lag : {2, 16, 37}) {
      for (int const quota : {0, 1, lag / 2, lag}) expect_as_plain<TypeParam>({{115, 115}, head_dim, lag, quota});
    }
  }
}

TYPED_TEST(fast_lag_compact, is_the_three_plain_steps_whatever_is_left_over) {
  for (int const tokens : {0, 5, 31, 32, 47, 48, 63, 64}) {
    for (int const first : {0, 16}) expect_as_plain<TypeParam>({{tokens, tokens}, 64, 16, 5, first});
  }
}

TYPED_TEST(fast_lag_compact, is_the_three_plain_steps_where_rows_are_not_finite) {
  lag_case const c{{100, 100}, 96, 16, 5};
  auto keys = random_rows<TypeParam>({c.lengths, c.head_dim}, 6);
  auto values = random_rows<TypeParam>({c.lengths, c.head_dim}, 7);
  keys.set(0, 20, 95, element<TypeParam>(std::numeric_limits<double>::quiet_NaN()));
  values.set(1, 41, 5, element<TypeParam>(std::numeric_limits<double>::infinity()));
  expect_as_plain<TypeParam, hnd_layout>(c, keys, values);
}

TEST(fast_lag_compact_of_floats, is_the_three_plain_steps_in_pages_of_heads_of_different_lengths) {
  expect_as_plain<float, paged_hnd_layout>({{115, 70, 0, 20, 90}, 64, 16, 5});
}

TEST(fast_lag_compact_of_floats, is_the_three_plain_steps_where_values_are_scattered) {
  expect_as_plain<float, transposed_layout>({{90, 90}, 64, 16, 5});
}

TEST(fast_lag_compact_of_floats, is_the_three_plain_steps_of_a_long_head) {
  expect_as_plain<float, hnd_layout>({{4700}, 16, 100, 30});
  expect_as_plain<float, hnd_layout>({{6600}, 16, 2100, 300});
}

TEST(fast_lag_compact_of_floats, moves_values_that_weigh_nothing_without_reading_them) {
  lag_case const c{{90, 90}, 64, 16, 5, 3, 0.0F};
  auto const keys = random_rows<float>({c.lengths, c.head_dim}, 1);
  expect_as_plain<float, hnd_layout>(c, keys, random_rows<float>({c.lengths, c.head_dim}, 2));
  expect_as_plain<float, hnd_layout, false>(c, keys, keys);
}

/// Heads from last to first, each on a thread of its own.
struct one_thread_each {
  template <class F>
  void operator()(int n, F&& f) const {
    std::vector<std::thread> running;
    for (int i = n - 1; i >= 0; --i) running.emplace_back([i, &f] { f(i); });
    for (auto& t : running) t.join();
  }
};

TEST(fast_lag_compact_of_floats, is_the_three_plain_steps_on_threads) {
  for (std::size_t const heads :
       {std::size_t{2}, std::size_t{9}, std::size_t{70}}) {  // fewer than pay, more than workers
    lag_case const c{std::vector<int>(heads, 100), 32, 16, 5};
    auto const keys = random_rows<float>({c.lengths, c.head_dim}, 1);
    expect_same(compacted<float, hnd_layout>(tightkv::basic_cpu{one_thread_each{}}, c, keys, keys),
                compacted<float, hnd_layout>(tightkv::plain_cpu{}, c, keys, keys));
  }
}

/// Memory for so many requests, and no more.
struct scarce : std::pmr::memory_resource {
  explicit scarce(int requests) : left(requests) {}
  int left;

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    if (left-- <= 0) throw std::bad_alloc();
    return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  }
  void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
    std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
  }
  bool do_is_equal(memory_resource const& other) const noexcept override { return this == &other; }
};

TEST(fast_lag_compact_of_floats, leaves_the_cache_as_it_was_when_memory_runs_out_and_can_try_again) {
  auto content = random_rows<float>({{100, 100}, 64}, 1);
  content.set(1, 50, 0, std::numeric_limits<float>::quiet_NaN());  // judged with care, which takes more memory
  tightkv::lag_kv const method{.keep = {0.25}, .lag = 16, .sink = 3};
  cache<hnd_layout> keys(content);
  cache<hnd_layout> values(content);
  auto const before = keys.memory();
  tightkv::lag_kv::state state;
  int requests = 0;
  for (bool done = false; !done; ++requests) {
    scarce memory(requests);
    try {
      tightkv::cpu const ex(tightkv::serial{}, &memory);
      tightkv::compress(ex, method, tightkv::kv_view(keys.plane<float>(), values.plane<float>()), state);
      done = true;
    } catch (std::bad_alloc const&) {
      ASSERT_TRUE(keys.memory() == before && values.memory() == before) << requests << " requests";
    }
  }
  EXPECT_GT(requests, 10);
  EXPECT_EQ(state.first, (std::vector<int>{3 + 5 * 4, 3 + 5 * 4}));
  EXPECT_FALSE(keys.memory() == before);
}

TEST(fast_lag_compact_of_floats, refuses_planes_of_another_length_before_anything_moves) {
  cache<hnd_layout> keys(random_rows<float>({{100, 100}, 64}, 1));
  cache<hnd_layout> positions(random_rows<std::byte>({{99, 99}, 4}, 1));
  auto const before = keys.memory();
  tightkv::lag_kv const method{.lag = 16, .sink = 3, .value_weight = 0.0F};
  tightkv::lag_kv::state state;
  EXPECT_THROW(tightkv::compress(tightkv::cpu{}, method, tightkv::kv_view(keys.plane<float>()), state,
                                 positions.plane<std::byte>()),
               tightkv::bad_argument);
  EXPECT_TRUE(keys.memory() == before);
}

}  // namespace lag_compact_test
