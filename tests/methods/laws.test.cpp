// SPDX-License-Identifier: Apache-2.0
/// The laws that every method obeys: `support/method_laws.hpp` is how a method inherits them.
#include <support/method_laws.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include <gmock/gmock.h>

#include <support/layer_definitions.hpp>

namespace tests {

outcome outcome_of(tightkv::plan const& plan, tightkv::matrix<float> const& scores) {
  outcome o{plan, {}};
  for (int h = 0; h < scores.rows(); ++h) o.scores.emplace_back(scores.row(h).begin(), scores.row(h).end());
  return o;
}

std::vector<int> kept(outcome const& o, int head) {
  auto const tokens = o.plan.kept(head);
  return {tokens.begin(), tokens.end()};
}

void expect_tokens(std::vector<int> const& got, std::vector<int> const& expected) { EXPECT_EQ(got, expected); }
void expect_kept(outcome const& o, std::vector<int> const& expected) { EXPECT_EQ(kept(o), expected); }

void expect_best(outcome const& o, int head, std::vector<double> const& expected, tightkv::token_range judged,
                 double tolerance) {
  double worst_kept = std::numeric_limits<double>::infinity();
  double best_evicted = -worst_kept;
  auto const stay = o.plan.kept(head);
  for (int t = judged.begin; t < judged.end; ++t) {
    double const score = expected[static_cast<std::size_t>(t)];
    EXPECT_NEAR(static_cast<double>(o.score(head, t)), score, tolerance) << "head " << head << " token " << t;
    bool const stays = std::binary_search(stay.begin(), stay.end(), t);
    if (stays) worst_kept = std::min(worst_kept, score);
    if (!stays) best_evicted = std::max(best_evicted, score);
  }
  EXPECT_GE(worst_kept, best_evicted - tolerance) << "head " << head;
  EXPECT_GT(best_evicted, -std::numeric_limits<double>::infinity()) << "nothing was evicted";
}

bool operator==(outcome const& a, outcome const& b) {
  auto const same = [](float x, float y) { return std::memcmp(&x, &y, sizeof x) == 0 || (x != x && y != y); };
  auto const same_rows = [&](auto const& x, auto const& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), same);
  };
  return a.plan == b.plan && std::equal(a.scores.begin(), a.scores.end(), b.scores.begin(), b.scores.end(), same_rows);
}

float outcome::score(int head, int token) const {
  if (scores.empty()) return tightkv::unjudged;
  return scores[static_cast<std::size_t>(head)][static_cast<std::size_t>(token)];
}

std::ostream& operator<<(std::ostream& out, outcome const& o) { return out << '\n' << o.plan; }

namespace {

bool contains(std::span<int const> kept, int token) { return std::binary_search(kept.begin(), kept.end(), token); }

bool same_kept(tightkv::plan const& a, int head_of_a, tightkv::plan const& b, int head_of_b) {
  auto const x = a.kept(head_of_a);
  auto const y = b.kept(head_of_b);
  return std::equal(x.begin(), x.end(), y.begin(), y.end());
}

bool keeps_all(tightkv::plan const& p) { return !p.evicts(); }

/// Ascending, in range, with what is protected; judged tokens have scores, and the kept ones the best of them.
void expect_well_formed(outcome const& o, tightkv::protected_tokens const& protect) {
  for (int h = 0; h < o.plan.heads(); ++h) {
    auto const kept = o.plan.kept(h);
    int const tokens = o.plan.before(h);
    EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end(), std::less_equal<>{})) << o;
    EXPECT_TRUE(kept.empty() || (kept.front() >= 0 && kept.back() < tokens)) << o;
    for (int t = 0; t < tokens; ++t) {
      if (t >= protect.sink && t < tokens - protect.recent) continue;
      EXPECT_TRUE(contains(kept, t)) << "protected token " << t << o;
      EXPECT_TRUE(std::isnan(o.score(h, t))) << "protected token " << t << o;
    }
  }
}

void keeps_exactly_the_budget_and_the_best_in_every_memory(any_method& method) {
  int i = 0;
  for (auto const& c : pairwise_cases()) {
    auto const content = random_layer({.kv_heads = 3, .group = c.group, .head_dim = c.head_dim});
    engine_memory cache(content, c);
    auto const o = method.decide(cache, static_cast<order>(i++ % 3));
    SCOPED_TRACE(::testing::PrintToString(c));
    expect_well_formed(o, method.protects(cache.tokens()));
    EXPECT_TRUE(o.plan.evicts());
    for (int h = 0; h < 3; ++h) EXPECT_EQ(o.plan.after(h), method.kept(0.5, cache.tokens()));
    EXPECT_EQ(o.plan.nan_scores, 0);
    EXPECT_EQ(o, method.decide(engine_memory(content))) << "not as floats in a plain layout";
    EXPECT_EQ(o, method.decide(cache)) << "not as the first time";
  }
}

void truncates_fractions_in_double(any_method& method) {
  struct trap {
    double keep;
    int tokens;
  };
  for (auto const& [keep, tokens] :
       {trap{0.29, 100}, {0.57, 100}, {0.56, 100}, {1.0 - 0.9, 100}, {0.001, 60}, {1, 60}}) {
    method.set_fraction(keep);
    auto const o = method.decide(engine_memory(random_layer({.tokens = tokens, .head_dim = 8})));
    EXPECT_EQ(o.plan.after(0), method.kept(keep, tokens)) << keep << " of " << tokens;
    expect_well_formed(o, method.protects(tokens));
  }
}

void keeps_the_best_scored(any_method& method) {
  auto const o = method.decide(engine_memory(random_layer({.kv_heads = 2, .group = 3})));
  for (std::size_t h = 0; h < o.scores.size(); ++h) {
    auto const& scores = o.scores[h];
    auto const kept = o.plan.kept(static_cast<int>(h));
    int const partition = method.partition > 0 ? method.partition : static_cast<int>(scores.size());
    for (int begin = method.protects(40).sink; begin < 40; begin += partition) {
      float worst_kept = std::numeric_limits<float>::infinity();
      float best_evicted = -worst_kept;
      for (int t = begin; t < std::min(40, begin + partition); ++t) {
        float const score = scores[static_cast<std::size_t>(t)];
        EXPECT_TRUE(!std::isnan(score) || contains(kept, t)) << t;
        if (contains(kept, t)) worst_kept = std::fmin(worst_kept, score);
        if (!contains(kept, t)) best_evicted = std::fmax(best_evicted, score);
      }
      EXPECT_GE(worst_kept, best_evicted) << "head " << h;
    }
  }
}

void moves_keys_values_and_positions_as_the_plan_says(any_method& method) {
  for (auto const& c : pairwise_cases()) {
    if (c.head_dim > 80) continue;
    auto const content = random_layer({.kv_heads = 2, .group = c.group, .head_dim = c.head_dim});
    engine_memory cache(content, c);
    method.forget();
    auto const o = method.compress(cache);
    EXPECT_TRUE(o.plan.evicts());
    for (int h = 0; h < 2; ++h) {
      auto const kept = o.plan.kept(h);
      EXPECT_THAT(cache.positions(h), ::testing::ElementsAreArray(kept.begin(), kept.end())) << c;
      int wrong = 0;
      for (int j = 0; j < o.plan.after(h); ++j) {
        int const from = kept[static_cast<std::size_t>(j)];
        for (int d = 0; d < c.head_dim; ++d) {
          wrong += cache.key(h, j, d) != content.keys(h, from, d) || cache.value(h, j, d) != content.values(h, from, d);
        }
      }
      EXPECT_EQ(wrong, 0) << c;
    }
  }
}

void evicts_nothing_when_everything_fits(any_method& method) {
  engine_memory cache(random_layer({}));
  for (int const count : {40, 41, 1000000}) {
    EXPECT_TRUE(!method.set_tokens(count) || keeps_all(method.decide(cache).plan)) << count;
  }
  method.set_fraction(1.0);
  auto const before = cache;
  EXPECT_TRUE(keeps_all(method.compress(cache).plan));
  EXPECT_TRUE(same_bytes(cache, before));
}

void evicts_nothing_of_what_is_protected(any_method& method) {
  method.set_fraction(0.01);
  for (int tokens = 0; tokens <= method.protects(0).count(); ++tokens) {
    auto const o = method.decide(engine_memory(random_layer({.group = 3, .tokens = tokens})));
    EXPECT_TRUE(keeps_all(o.plan)) << o;
    EXPECT_EQ(o.plan.nan_scores, 0);
  }
}

void accepts_an_empty_cache(any_method& method) {
  EXPECT_EQ(method.decide(engine_memory(random_layer({.tokens = 0}))).plan, tightkv::plan::of({0, 0}, {{}, {}}));
  EXPECT_EQ(method.decide(engine_memory(random_layer({.kv_heads = 0}))).plan, tightkv::plan::of({}, {}));
}

void refuses_a_budget_that_makes_no_sense_and_touches_nothing(any_method& method) {
  engine_memory cache(random_layer({}));
  auto const before = cache;
  for (double const keep : {0.0, -0.5, 1.0000001, 2.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    method.set_fraction(keep);
    EXPECT_THROW(method.compress(cache), tightkv::bad_argument) << keep;
  }
  int const least = std::max(1, method.protects(cache.tokens()).count());
  for (int const count : {0, -1, least - 1}) {
    if (!method.set_tokens(count)) break;
    EXPECT_THROW(method.compress(cache), tightkv::bad_argument) << count;
  }
  EXPECT_TRUE(same_bytes(cache, before));
  if (method.set_tokens(least)) {  // the smallest that will do; and the state has not been spoilt
    EXPECT_EQ(method.compress(cache).plan.after(0), least);
  }
}

void goes_on_after_a_failed_call(any_method& method) {
  engine_memory cache(random_layer({.group = 3}));
  auto const before = cache;
  auto const expected = method.decide(cache);
  EXPECT_THROW(method.run(cache, call::compress_with_wrong_positions, order::forwards), tightkv::bad_argument);
  EXPECT_TRUE(same_bytes(cache, before));
  EXPECT_EQ(method.compress(cache), expected);
}

void holds_a_cache_within_its_budget_for_ever(any_method& method) {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    constexpr int room = 16;
    auto const content = random_layer({.kv_heads = 2, .group = 3, .tokens = 90, .head_dim = 16, .seed = seed});
    engine_memory cache(content, {.head_dim = 16, .group = 3}, 0);
    method.forget();
    bool const fixed = method.set_tokens(room);
    std::mt19937 random(seed);
    while (cache.seen() < 90) {
      cache.append(std::min(90 - cache.seen(), 1 + static_cast<int>(random() % 7)), 6);
      int const before = cache.tokens();
      auto const protect = method.protects_in_stream(before);
      auto const o = method.compress(cache);
      expect_well_formed(o, protect);
      EXPECT_TRUE(!fixed || cache.tokens() == std::min(before, std::max(room, protect.count())));
      for (int h = 0; h < 2; ++h) {
        auto const positions = cache.positions(h);
        EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end(), std::less_equal<>{}));
        EXPECT_EQ(positions.back(), cache.seen() - 1) << "the newest token went at once";
        for (int t = 0; t < std::min(protect.sink, cache.tokens()); ++t)
          EXPECT_EQ(positions[static_cast<std::size_t>(t)], t);
      }
    }
    EXPECT_LT(cache.tokens(), 90);
  }
}

void takes_a_fraction_of_the_first_tokens_there_are_and_then_keeps_to_it(any_method& method) {
  engine_memory cache(random_layer({.tokens = 60}), {}, 0);
  method.compress(cache);
  cache.append(40);
  EXPECT_EQ(method.compress(cache).plan.after(0), method.kept(0.5, 40));
  if (method.partition > 0) return;
  cache.append(10, 6);
  int const least = method.protects_in_stream(cache.tokens()).count();
  EXPECT_EQ(method.compress(cache).plan.after(0), std::max(least, method.kept(0.5, 40)));
}

void judges_each_head_alone(any_method& method) {
  if (!method.heads_are_independent) GTEST_SKIP() << "ties the heads of a layer";
  auto const content = random_layer({.kv_heads = 3, .group = 3});
  auto const together = method.decide(engine_memory(content));
  for (int h = 0; h < (method.does_not_know_head_numbers ? 3 : 1); ++h) {
    auto const alone = method.decide(engine_memory(content.only(h)));
    EXPECT_TRUE(same_kept(alone.plan, 0, together.plan, h)) << alone << together;
  }
}

void judges_a_batch_layer_by_layer(any_method& method) {
  std::vector<engine_memory> layers;
  for (int const tokens : {40, 3, 0, 49}) {  // some too short for anything to be due
    auto const seed = static_cast<unsigned>(layers.size() + 1);
    layers.emplace_back(random_layer({.kv_heads = 2, .group = 3, .tokens = tokens, .seed = seed}));
  }
  auto const all = method.decide_batch(layers);
  for (int i = 0; i < (method.does_not_know_head_numbers ? 4 : 1); ++i) {
    auto const one = method.decide(layers[static_cast<std::size_t>(i)]);
    for (int h = 0; h < 2; ++h) EXPECT_TRUE(same_kept(one.plan, h, all.plan, 2 * i + h)) << one << all;
  }
}

void evicts_a_row_that_is_not_finite_first_and_counts_it(any_method& method) {
  if (!method.reads_rows) GTEST_SKIP() << "looks at lengths alone";
  for (float const poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto content = random_layer({.kv_heads = 2, .group = 3});
    content.keys(1, 4, 0) = poison;
    auto const o = method.decide(engine_memory(content));
    EXPECT_FALSE(contains(o.plan.kept(1), 4)) << o;
    EXPECT_TRUE(std::isnan(o.scores[1][4]));
    EXPECT_EQ(o.plan.nan_scores, method.heads_are_independent ? 1 : 2);
    if (method.heads_are_independent) {
      EXPECT_TRUE(
          same_kept(o.plan, 0, method.decide(engine_memory(random_layer({.kv_heads = 2, .group = 3}))).plan, 0));
    }
  }
}

void says_what_it_is(any_method& method) {
  auto const& i = method.info;
  for (auto const text : {i.name, i.summary, i.needs, i.paper, i.paper_defaults}) EXPECT_FALSE(text.empty()) << i.name;
  EXPECT_EQ(i.summary.back(), '.');
  EXPECT_EQ(i.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"), std::string_view::npos) << i.name;
  EXPECT_EQ(method.parameters.front(), "keep");
  auto names = method.parameters;
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
  for (auto const& meaning : method.meanings) EXPECT_GE(meaning.size(), 8U);
}

struct law {
  char const* name;
  void (*holds_for)(any_method&);
};
constexpr law laws[] = {
    {"keeps_exactly_the_budget_and_the_best_in_every_memory", keeps_exactly_the_budget_and_the_best_in_every_memory},
    {"truncates_fractions_in_double", truncates_fractions_in_double},
    {"keeps_the_best_scored", keeps_the_best_scored},
    {"moves_keys_values_and_positions_as_the_plan_says", moves_keys_values_and_positions_as_the_plan_says},
    {"evicts_nothing_when_everything_fits", evicts_nothing_when_everything_fits},
    {"evicts_nothing_of_what_is_protected", evicts_nothing_of_what_is_protected},
    {"accepts_an_empty_cache", accepts_an_empty_cache},
    {"refuses_a_budget_that_makes_no_sense_and_touches_nothing",
     refuses_a_budget_that_makes_no_sense_and_touches_nothing},
    {"goes_on_after_a_failed_call", goes_on_after_a_failed_call},
    {"holds_a_cache_within_its_budget_for_ever", holds_a_cache_within_its_budget_for_ever},
    {"takes_a_fraction_of_the_first_tokens_there_are_and_then_keeps_to_it",
     takes_a_fraction_of_the_first_tokens_there_are_and_then_keeps_to_it},
    {"judges_each_head_alone", judges_each_head_alone},
    {"judges_a_batch_layer_by_layer", judges_a_batch_layer_by_layer},
    {"evicts_a_row_that_is_not_finite_first_and_counts_it", evicts_a_row_that_is_not_finite_first_and_counts_it},
    {"says_what_it_is", says_what_it_is},
};

class law_test : public ::testing::Test {
 public:
  law_test(law const& l, method_maker make) : law_(l), method_(make()) {}

 private:
  void TestBody() override { law_.holds_for(*method_); }

  law law_;
  std::unique_ptr<any_method> method_;
};

}  // namespace

bool register_method_laws(std::string const& name, method_maker make, std::source_location const& where) {
  for (auto const& l : laws) {
    ::testing::RegisterTest((name + "_laws").c_str(), l.name, nullptr, nullptr, where.file_name(),
                            static_cast<int>(where.line()),
                            [l, make]() -> ::testing::Test* { return new law_test(l, make); });
  }
  return true;
}

}  // namespace tests
