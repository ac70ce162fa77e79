// SPDX-License-Identifier: Apache-2.0
/// Results depend neither on threads nor on the order of heads, and scratch comes from the executor and nowhere else.
#include <support/unoptimised.hpp>

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory_resource>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <support/layouts.hpp>
#include <tightkv/core/thread_pool.hpp>
#include <tightkv/ops/attention_mass.hpp>
#include <tightkv/ops/average_attention.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/ops/fill_tokens.hpp>
#include <tightkv/ops/gather.hpp>
#include <tightkv/ops/gram_update.hpp>
#include <tightkv/ops/lag_scores.hpp>
#include <tightkv/ops/larger_of.hpp>
#include <tightkv/ops/mark_unjudged.hpp>
#include <tightkv/ops/mean_cosine.hpp>
#include <tightkv/ops/mean_of_heads.hpp>
#include <tightkv/ops/number_tokens.hpp>
#include <tightkv/ops/pool_tokens.hpp>
#include <tightkv/ops/project_heads.hpp>
#include <tightkv/ops/random_scores.hpp>
#include <tightkv/ops/rank_tokens.hpp>
#include <tightkv/ops/row_norms.hpp>
#include <tightkv/ops/select_partitions.hpp>
#include <tightkv/ops/select_top_k.hpp>
#include <tightkv/ops/window_attention.hpp>

namespace executors_test {

using namespace tests;

constexpr int head_count = 4;
constexpr int few_tokens = 40;
constexpr int many_tokens = 2500;  // more than a kernel takes at a time, so that heads are cut into pieces
constexpr int group = 3;

/// Threads of any kind, or none. One type for all, as all ops are compiled for it.
struct lent {
  std::function<void(int, std::function<void(int)> const&)> run = tightkv::serial{};

  template <class F>
  void operator()(int n, F&& f) const {
    run(n, std::ref(f));
  }
};
using cpu = tightkv::basic_cpu<lent>;

struct results {
  std::vector<tightkv::matrix<float>> scores;
  std::vector<tightkv::plan> plans;
  std::vector<std::byte> compacted;
  std::vector<std::byte> gathered;
  std::vector<double> sums;
};

/// Every op there is, each on what the one before it left.
results run_all(cpu const& ex, int tokens) {
  extents const e{std::vector<int>(head_count, tokens), 80};
  cache<nhd_layout> keys(random_rows<tightkv::half>(e, 1));
  cache<nhd_layout> values(random_rows<tightkv::half>(e, 2));
  cache<hnd_layout> queries(random_rows<tightkv::half>({std::vector<int>(head_count * group, 9), 80}, 3));
  tightkv::kv_view const view(keys.plane<tightkv::half>(), values.plane<tightkv::half>(),
                              queries.plane<tightkv::half>());
  results r;
  auto const scores = [&](int heads) { return r.scores.emplace_back(heads, tokens, 0.0F).view(); };
  r.scores.reserve(20);

  std::vector<int> const first(head_count, 4);
  std::vector<int> const nine(head_count, 9);
  std::vector<int> const lengths(head_count, tokens);
  std::vector<tightkv::token_range> const ranges(head_count, {4, tokens - 4});

  tightkv::row_norms(ex, view.keys, -1.0F, scores(head_count));
  tightkv::mean_cosine(ex, view.keys, -1.0F, scores(head_count));
  tightkv::lag_scores(ex, view, {.partitions = {first, 8}}, scores(head_count));
  tightkv::matrix_view<float const> const lag = r.scores.back().view();
  tightkv::attention_mass(ex, view, nine, scores(head_count));
  tightkv::window_attention(ex, view, 5, scores(head_count * group));
  auto const window = r.scores.back().view();
  auto const mean = scores(head_count);
  tightkv::mean_of_heads(ex, window, {.from = group, .into = 1}, mean);
  tightkv::pool_tokens(ex, mean, {lengths});
  tightkv::matrix<int> numbers(head_count, tokens);
  tightkv::number_tokens(ex, {.ranges = ranges, .first = first}, numbers.view());
  auto const random = scores(head_count);
  tightkv::random_scores(ex, std::as_const(numbers).view(), 5, random);
  std::vector<int> const arrived(head_count, 2 * tokens);
  tightkv::average_attention(ex, mean, {std::as_const(numbers).view(), lengths, arrived}, scores(head_count));
  tightkv::fill_tokens(ex, ranges, 0.5F, scores(head_count));
  auto const larger = scores(head_count);
  tightkv::larger_of(ex, mean, larger);
  tightkv::larger_of(ex, random, larger);
  tightkv::rank_tokens(ex, larger, {.ranges = ranges});
  tightkv::mark_unjudged(ex, ranges, larger);

  int const size = view.keys.head_dim();
  tightkv::matrix<double> products(size, size);
  r.sums.resize(static_cast<std::size_t>(size));
  tightkv::rows_counted counted;
  tightkv::gram_update(ex, view.keys, {.first = 1, .skip = 4}, {products.view(), r.sums.data(), &counted});
  r.sums.insert(r.sums.end(), products.view().data, products.view().data + size * size);
  tightkv::matrix<float> const wide(head_count * size, 2, 0.125F);
  float* const merged = scores(2).data;
  tightkv::project_heads(ex, view.keys, wide.view(),
                         tightkv::hnd(merged, {.heads = 1, .tokens = tokens, .head_dim = 2}));

  tightkv::select_partitions_fn::parameters const quarter{{first, 8}, 2};
  std::vector<int> const by_partition(head_count, quarter.partitions.judged(0, tokens) * -6 + tokens);
  std::vector<int> const half(head_count, tokens / 2);
  tightkv::select_partitions(ex, lag, quarter, r.plans.emplace_back(lengths, by_partition));
  tightkv::select_top_k(ex, larger, ranges, r.plans.emplace_back(lengths, half));

  cache<hnd_layout> kept(rows({half, 80}, sizeof(tightkv::half)));
  tightkv::gather(ex, r.plans.back(), view.values, kept.plane<tightkv::half>());
  tightkv::compact(ex, r.plans.back(), view.keys, view.values);
  r.gathered = kept.memory();
  r.compacted = keys.memory();
  return r;
}

void expect_same(results const& a, results const& b) {
  ASSERT_EQ(a.scores.size(), b.scores.size());
  for (std::size_t i = 0; i < a.scores.size(); ++i) {
    for (int h = 0; h < a.scores[i].rows(); ++h) {
      for (int t = 0; t < a.scores[i].cols(); ++t) {
        ASSERT_TRUE(same(a.scores[i](h, t), b.scores[i](h, t))) << "result " << i << ", head " << h << ", token " << t;
      }
    }
  }
  EXPECT_EQ(a.plans, b.plans);
  EXPECT_EQ(a.sums, b.sums);
  EXPECT_TRUE(a.compacted == b.compacted && a.gathered == b.gathered);
}

TEST(executors, give_the_same_bits_on_threads_in_another_order) {
  auto const every_third = [](int n, auto const& f) {
    std::vector<std::jthread> running;
    for (int i = 0; i < 3; ++i) {
      running.emplace_back([n, i, &f] {
        for (int j = n - 1 - i; j >= 0; j -= 3) f(j);
      });
    }
  };
  expect_same(run_all(cpu{lent{every_third}}, few_tokens), run_all(cpu{}, few_tokens));
}

TEST(executors, give_the_same_bits_whatever_the_number_of_threads) {
  auto const serial = run_all(cpu{}, many_tokens);
  for (int const threads : {1, 2, 3, 7}) {
    SCOPED_TRACE(threads);
    tightkv::thread_pool pool(threads);
    expect_same(run_all(cpu{lent{tightkv::on_pool{pool}}}, many_tokens), serial);
  }
}

TEST(executors, give_the_same_bits_with_dirty_scratch_of_their_own) {
  // Memory that is never cleared: what an op does not write before it reads would show.
  struct dirty : std::pmr::memory_resource {
    std::size_t uses = 0;
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
      ++uses;
      void* const p = std::pmr::new_delete_resource()->allocate(bytes, alignment);
      std::memset(p, 0xff, bytes);
      return p;
    }
    void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
      std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
    }
    bool do_is_equal(memory_resource const& other) const noexcept override { return this == &other; }
  };
  dirty scratch;
  expect_same(run_all(cpu{lent{}, &scratch}, few_tokens), run_all(cpu{}, few_tokens));
  EXPECT_GT(scratch.uses, 0U);
}

TEST(executors, take_scratch_from_nowhere_else) {
  // Everything made outside of the ops comes from this; then the default is taken away, and ops must not miss it.
  constexpr int tokens = few_tokens;
  extents const e{std::vector<int>(head_count, tokens), 16};
  cache<nhd_layout> keys(random_rows<tightkv::half>(e, 1));
  cache<hnd_layout> queries(random_rows<tightkv::half>(e, 2));
  tightkv::kv_view const view(keys.plane<tightkv::half>(), keys.plane<tightkv::half>(), queries.plane<tightkv::half>());
  tightkv::matrix<float> scores(head_count, tokens);
  std::vector<int> const zero(head_count, 0);
  std::vector<int> const lengths(head_count, tokens);
  std::vector<int> const after(head_count, 26);
  std::vector<tightkv::token_range> const ranges(head_count, {4, 36});
  tightkv::select_partitions_fn::parameters const s{{zero, 10}, 8};
  tightkv::plan p(lengths, after);
  tightkv::plan by_partition(lengths, std::vector<int>(head_count, 34));
  tightkv::matrix_view<float const> const in = std::as_const(scores).view();
  std::pmr::monotonic_buffer_resource arena(std::pmr::new_delete_resource());
  cpu const ex{lent{}, &arena};

  auto* const usual = std::pmr::set_default_resource(std::pmr::null_memory_resource());
  EXPECT_NO_THROW({
    tightkv::row_norms(ex, view.keys, 1.0F, scores.view());
    tightkv::mean_cosine(ex, view.keys, 1.0F, scores.view());
    tightkv::attention_mass(ex, view, lengths, scores.view());
    tightkv::window_attention(ex, view, 5, scores.view());
    tightkv::pool_tokens(ex, scores.view(), {lengths});
    tightkv::rank_tokens(ex, scores.view(), {.ranges = ranges});
    tightkv::lag_scores(ex, view, {.partitions = s.partitions}, scores.view());
    tightkv::select_partitions(ex, in, s, by_partition);
    tightkv::select_top_k(ex, in, ranges, p);
    tightkv::compact(ex, p, view.keys);
  });
  std::pmr::set_default_resource(usual);
}

}  // namespace executors_test
