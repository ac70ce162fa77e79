// SPDX-License-Identifier: Apache-2.0
/// Fast selection keeps what plain selection keeps.
#include <support/unoptimised.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <support/instruction_sets.hpp>
#include <tightkv/ops/select_partitions.hpp>

namespace select_test {

using namespace tests;

/// Score t of n: distributions that mislead samples or have many ties.
struct distribution {
  char const* name;
  float (*at)(double random, int t, int n);
};
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr distribution distributions[] = {
    {"normal", [](double x, int, int) { return static_cast<float>(x); }},
    {"one score", [](double, int, int) { return 0.5F; }},
    {"few scores", [](double x, int, int) { return static_cast<float>(std::round(x)); }},
    {"both zeros", [](double x, int, int) { return x > 0 ? 0.0F : -0.0F; }},
    {"all NaN", [](double, int, int) { return nan; }},
    {"some not finite", [](double x, int, int) { return x > 0.5    ? infinity
                                                        : x < -0.5 ? nan
                                                                   : -infinity; }},
    {"periodic", [](double, int t, int) { return static_cast<float>(t % 16); }},
    {"ascending", [](double, int t, int) { return static_cast<float>(t) - 100.0F; }},
    {"a spike between samples", [](double x, int t, int) { return t % 17 == 5 ? 1e6F : static_cast<float>(x); }},
};

tightkv::matrix<float> scores_of(distribution const& d, int tokens) {
  tightkv::matrix<float> scores(2, tokens);
  auto const random = random_numbers(static_cast<std::size_t>(2 * tokens), static_cast<unsigned>(tokens));
  for (int h = 0; h < 2; ++h) {
    for (int t = 0; t < tokens; ++t) scores(h, t) = d.at(random[static_cast<std::size_t>(h * tokens + t)], t, tokens);
  }
  return scores;
}

/// `select(executor, plan)` must fill plans of such lengths alike whatever the instruction set.
template <class Select>
void expect_plan_as_plain(int before, int after, Select const& select) {
  std::vector<int> const lengths(2, before);
  std::vector<int> const kept(2, after);
  tightkv::plan plain(lengths, kept);
  select(tightkv::plain_cpu{}, plain);
  for (auto const set : instruction_sets()) {
    tightkv::plan fast(lengths, kept);
    select(tightkv::cpu{}.with(set), fast);
    EXPECT_EQ(fast, plain) << "instruction set " << static_cast<int>(set);
    EXPECT_EQ(fast.nan_scores, plain.nan_scores);
  }
}

TEST(fast_select_top_k, keeps_what_the_plain_one_keeps) {
  for (auto const& d : distributions) {
    for (int const tokens : {0, 1, 16, 100, 2048, 3003}) {
      auto const scores = scores_of(d, tokens);
      for (auto const protect : {tightkv::protected_tokens{}, tightkv::protected_tokens{.sink = 5, .recent = 3}}) {
        auto const range = protect.judged(tokens);
        std::vector<tightkv::token_range> const ranges(2, range);
        for (int const best : {0, 1, range.size() / 4, range.size() - 1, range.size()}) {
          if (best < 0 || best > range.size()) continue;
          SCOPED_TRACE(testing::Message() << d.name << ", " << best << " of " << tokens);
          expect_plan_as_plain(tokens, tokens - range.size() + best, [&](auto const& ex, tightkv::plan& p) {
            tightkv::select_top_k(ex, scores.view(), ranges, p);
          });
        }
      }
    }
  }
}

TEST(fast_select_partitions, keeps_what_the_plain_one_keeps) {
  for (auto const& d : distributions) {
    auto const scores = scores_of(d, 331);
    for (int const lag : {2, 15, 16, 100}) {
      for (int const quota : {0, 1, lag / 4, lag}) {
        std::vector<int> const first(2, 3);
        tightkv::select_partitions_fn::parameters const s{{first, lag}, quota};
        SCOPED_TRACE(testing::Message() << d.name << ", " << quota << " of " << lag);
        expect_plan_as_plain(331, tightkv::select_partitions.kept(s, 0, 331), [&](auto const& ex, tightkv::plan& p) {
          tightkv::select_partitions(ex, scores.view(), s, p);
        });
      }
    }
  }
}

}  // namespace select_test
