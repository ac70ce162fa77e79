// SPDX-License-Identifier: Apache-2.0
/// The laws that every scorer obeys: `support/scorer_laws.hpp` is how a scorer inherits them.
#include <support/scorer_laws.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <support/layer_definitions.hpp>

namespace tests {

score_table table_of(tightkv::matrix<float> const& scores) {
  score_table t;
  for (int h = 0; h < scores.rows(); ++h) t.emplace_back(scores.row(h).begin(), scores.row(h).end());
  return t;
}

namespace {

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

}  // namespace

bool same_bits(score_table const& a, score_table const& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](auto const& x, auto const& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), same);
  });
}

void expect_scores(score_table const& got, score_table const& expected, float tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t h = 0; h < got.size(); ++h) {
    ASSERT_EQ(got[h].size(), expected[h].size());
    for (std::size_t t = 0; t < got[h].size(); ++t) {
      if (std::isnan(expected[h][t])) {
        EXPECT_TRUE(std::isnan(got[h][t])) << "head " << h << " token " << t << " scores " << got[h][t];
      } else {
        EXPECT_NEAR(got[h][t], expected[h][t], tolerance) << "head " << h << " token " << t;
      }
    }
  }
}

namespace {

/// Layouts, element types and threads are not seen: the numbers are the same in all of them, and so are the bits.
void gives_the_same_bits_wherever_the_rows_lie(any_scorer const& score) {
  int i = 0;
  for (auto const& c : pairwise_cases()) {
    auto const content = random_layer({.kv_heads = 3, .group = c.group, .tokens = 40, .head_dim = c.head_dim});
    auto const expected = score(engine_memory(content));
    engine_memory cache(content, c);
    EXPECT_TRUE(same_bits(score(cache, static_cast<order>(i++ % 3)), expected)) << c;
    EXPECT_TRUE(same_bits(score(cache), expected)) << c << ", a second time";
    EXPECT_TRUE(std::any_of(expected[0].begin(), expected[0].end(), [](float x) { return x == x; })) << c;
  }
}

void accepts_an_empty_cache(any_scorer const& score) {
  EXPECT_EQ(score(engine_memory(random_layer({.tokens = 0}))), score_table(2));
  EXPECT_EQ(score(engine_memory(random_layer({.kv_heads = 0}))), score_table());
}

void judges_each_head_alone(any_scorer const& score) {
  if (!score.heads_are_independent) GTEST_SKIP() << "this scorer ties the heads of a layer";
  auto const content = random_layer({.kv_heads = 3, .group = 3});
  auto const together = score(engine_memory(content));
  for (int h = 0; h < 3; ++h) {
    EXPECT_TRUE(same_bits(score(engine_memory(content.only(h))), {together[static_cast<std::size_t>(h)]})) << h;
  }
}

/// A NaN or an infinity costs its own token the score, and no other.
void keeps_what_is_not_finite_in_its_row(any_scorer const& score) {
  constexpr int broken = 5;
  for (float const poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                             -std::numeric_limits<float>::infinity()}) {
    auto content = random_layer({.kv_heads = 2, .group = 3});
    auto const before = score(engine_memory(content));
    content.keys(1, broken, 17) = poison;
    auto const after = score(engine_memory(content));
    EXPECT_FALSE(std::isnan(before[1][broken]));
    EXPECT_TRUE(std::isnan(after[1][broken]));
    for (std::size_t t = 0; t < before[1].size(); ++t) {
      if (t == broken) continue;
      EXPECT_EQ(std::isnan(after[1][t]), std::isnan(before[1][t])) << "token " << t;
      EXPECT_FALSE(std::isinf(after[1][t])) << "token " << t;
      EXPECT_TRUE(!score.rows_are_independent || same(after[1][t], before[1][t])) << "token " << t;
    }
    EXPECT_TRUE(!score.heads_are_independent || same_bits({after[0]}, {before[0]}));
  }
}

void refuses_scores_of_another_shape(any_scorer const& score) {
  engine_memory cache(random_layer({}));
  EXPECT_THROW(score.score(cache, order::forwards, 1, 0), tightkv::bad_argument);
  EXPECT_THROW(score.score(cache, order::forwards, 0, 1), tightkv::bad_argument);
}

struct law {
  char const* name;
  void (*holds_for)(any_scorer const&);
};
constexpr law laws[] = {
    {"gives_the_same_bits_wherever_the_rows_lie", gives_the_same_bits_wherever_the_rows_lie},
    {"accepts_an_empty_cache", accepts_an_empty_cache},
    {"judges_each_head_alone", judges_each_head_alone},
    {"keeps_what_is_not_finite_in_its_row", keeps_what_is_not_finite_in_its_row},
    {"refuses_scores_of_another_shape", refuses_scores_of_another_shape},
};

class law_test : public ::testing::Test {
 public:
  law_test(law const& l, scorer_maker make) : law_(l), scorer_(make()) {}

 private:
  void TestBody() override { law_.holds_for(*scorer_); }

  law law_;
  std::unique_ptr<any_scorer> scorer_;
};

}  // namespace

bool register_scorer_laws(std::string const& name, scorer_maker make, std::source_location const& where) {
  for (auto const& l : laws) {
    ::testing::RegisterTest((name + "_laws").c_str(), l.name, nullptr, nullptr, where.file_name(),
                            static_cast<int>(where.line()),
                            [l, make]() -> ::testing::Test* { return new law_test(l, make); });
  }
  return true;
}

}  // namespace tests
