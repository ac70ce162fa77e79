// SPDX-License-Identifier: Apache-2.0
/// Errors, matrices and executors: the small parts.
#include <cmath>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/core/error.hpp>
#include <tightkv/core/executor.hpp>
#include <tightkv/core/matrix.hpp>

namespace {

namespace detail = tightkv::detail;

template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (tightkv::bad_argument const& e) {
    return e.what();
  }
  return "nothing was refused";
}

TEST(error, says_who_which_rule_and_what_was_given) {
  EXPECT_EQ(refusal([] { detail::expects(false, "keep_ratio", "must be in (0, 1]", "keep_ratio", 2.0); }),
            "tightkv::keep_ratio: must be in (0, 1] (got keep_ratio = 2)");
  EXPECT_EQ(refusal([] { detail::expects(false, "plan", "must match", "before", 4, "after", std::size_t{5}); }),
            "tightkv::plan: must match (got before = 4, after = 5)");
  EXPECT_EQ(refusal([] { detail::expects(false, "plane", "data must not be null"); }),
            "tightkv::plane: data must not be null");
  EXPECT_EQ(refusal([] {
              detail::refuse("file", "no such file", {{"path", "a b"}, {"size", std::int64_t{-1}}});
            }),
            "tightkv::file: no such file (got path = a b, size = -1)");
}

TEST(error, prints_fractions_as_they_were_written) {
  EXPECT_EQ(refusal([] { detail::expects(false, "a", "b", "x", 0.1); }), "tightkv::a: b (got x = 0.1)");
  EXPECT_EQ(refusal([] { detail::expects(false, "a", "b", "x", NAN); }), "tightkv::a: b (got x = nan)");
}

TEST(error, is_not_thrown_where_all_is_well) {
  EXPECT_NO_THROW(detail::expects(true, "a", "b", "x", 1, "y", 2));
  EXPECT_TRUE((std::is_base_of_v<std::invalid_argument, tightkv::bad_argument>));
}

TEST(matrix, is_stored_row_by_row) {
  tightkv::matrix<float> m(2, 3, 1.5F);
  m(1, 0) = 7;
  EXPECT_EQ(m.rows(), 2);
  EXPECT_EQ(m.cols(), 3);
  EXPECT_EQ(m.view().data[3], 7);
  EXPECT_EQ(m.row(0)[2], 1.5F);
  EXPECT_EQ(m.row(1).size(), 3U);
  EXPECT_FALSE(m.empty());
  EXPECT_TRUE(tightkv::matrix<float>(0, 3).empty());
  EXPECT_TRUE(tightkv::matrix<float>{}.empty());
}

TEST(matrix, view_may_have_rows_further_apart_than_its_columns) {
  std::vector<int> v{0, 1, 2, 3, 4, 5};
  tightkv::matrix_view<int> const every_other{.data = v.data(), .rows = 2, .cols = 2, .stride = 4};
  EXPECT_EQ(every_other(1, 1), 5);
  tightkv::matrix_view<int const> const to_read = every_other;
  EXPECT_EQ(to_read.stride, 4);
  EXPECT_EQ(*to_read.row(1), 4);
  EXPECT_EQ((tightkv::matrix_view<int>{v.data(), 2, 3}.stride), 3);
}

TEST(executor, runs_each_index_once_in_order_by_default) {
  std::vector<int> seen;
  tightkv::cpu{}.for_each_index(4, [&](int i) { seen.push_back(i); });
  EXPECT_EQ(seen, (std::vector{0, 1, 2, 3}));
  tightkv::cpu{}.for_each_index(0, [&](int) { FAIL(); });
  EXPECT_EQ(tightkv::cpu{}.resource(), std::pmr::get_default_resource());
}

TEST(executor, uses_its_owners_loop_and_memory) {
  int calls = 0;
  std::pmr::monotonic_buffer_resource arena;
  tightkv::basic_cpu const ex{[&](int n, auto&& f) {
                                ++calls;
                                for (int i = n - 1; i >= 0; --i) f(i);
                              },
                              &arena};
  static_assert(tightkv::executor<std::remove_const_t<decltype(ex)>>);
  std::vector<int> seen;
  ex.for_each_index(3, [&](int i) { seen.push_back(i); });
  EXPECT_EQ(seen, (std::vector{2, 1, 0}));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(ex.resource(), &arena);
}

TEST(executor, scores_start_unjudged_in_its_memory) {
  std::byte room[1024];
  std::pmr::monotonic_buffer_resource arena(room, sizeof room, std::pmr::null_memory_resource());
  auto const scores = tightkv::make_scores(tightkv::cpu{tightkv::serial{}, &arena}, 2, 3);
  for (int h = 0; h < 2; ++h) {
    for (float const x : scores.row(h)) EXPECT_TRUE(std::isnan(x));
  }
  auto const* const at = reinterpret_cast<std::byte const*>(scores.view().data);
  EXPECT_TRUE(room <= at && at < room + sizeof room);
}

}  // namespace
