// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mergers/attention.hpp>
#include <tightkv/mergers/output_refit.hpp>

namespace {

using namespace tests;

/// Tokens, of which the target is linear in the inputs up to noise.
struct regression {
  numbers true_output = bell_shaped(6, 10, 1);
  numbers start = bell_shaped(6, 10, 2);  // W_O' to begin with: a row per output feature

  struct window {
    numbers z, y;
  };
  window draw(int tokens, unsigned seed, float noise = 0.5F) const {
    window w{related_rows(tokens, 10, seed), {}};
    auto const error = bell_shaped(tokens, 6, seed + 5, noise);
    w.y = rounded(linear(w.z, true_output, {}));
    for (int t = 0; t < tokens; ++t) {
      for (int o = 0; o < 6; ++o) w.y(t, o) += error(t, o);
    }
    return w;
  }
};

tightkv::refit_sums sums_of(regression::window const& w) {
  tightkv::refit_sums sums(w.z.cols(), w.y.cols());
  sums.add(w.z.view(), w.y.view());
  return sums;
}

/// ||Y - Z W^T||^2, token by token.
double error_of(regression::window const& w, numbers const& output) {
  auto const got = linear(w.z, output, {});
  double sum = 0;
  for (int t = 0; t < got.rows(); ++t) {
    for (int o = 0; o < got.cols(); ++o) {
      double const x = static_cast<double>(w.y(t, o)) - got(t, o);
      sum += x * x;
    }
  }
  return sum;
}

TEST(output_refit, finds_the_weights_that_made_the_target) {
  regression const r;
  auto const refitted = tightkv::refit_output(sums_of(r.draw(100, 3, 0)), r.start.view(), 0);
  for (int o = 0; o < 6; ++o) {
    for (int i = 0; i < 10; ++i) EXPECT_NEAR(refitted(o, i), r.true_output(o, i), 1e-4);
  }
}

TEST(output_refit, of_a_worked_example) {
  // z = 1, 2 and y = 3, 4; W = 1. Z^T Z = 5, Z^T (Y - Z) = 6; with ridge 1, D = 6 / (5 + 5).
  numbers z(2, 1);
  z(0, 0) = 1;
  z(1, 0) = 2;
  numbers y(2, 1);
  y(0, 0) = 3;
  y(1, 0) = 4;
  numbers const w(1, 1, 1.0F);
  auto const sums = sums_of({z, y});
  EXPECT_NEAR(tightkv::refit_output(sums, w.view(), 1)(0, 0), 1.6, 1e-7);
  EXPECT_NEAR(tightkv::refit_output(sums, w.view(), 0)(0, 0), 2.2, 1e-7);
  EXPECT_EQ(tightkv::output_energy(sums, w.view()).lost, 4 + 4);
  EXPECT_EQ(tightkv::output_energy(sums, w.view()).total, 9 + 16);
}

TEST(output_refit, error_is_that_counted_token_by_token) {
  regression const r;
  auto const window = r.draw(80, 4);
  double const want = error_of(window, r.start);
  EXPECT_NEAR(tightkv::output_energy(sums_of(window), r.start.view()).lost, want, 1e-10 * want);
}

TEST(output_refit, is_never_worse_on_the_tokens_it_was_fitted_to_and_worse_the_larger_the_ridge) {
  regression const r;
  auto const window = r.draw(15, 5);
  auto const sums = sums_of(window);
  double previous = 0;
  for (double const ridge : {0.0, 1e-4, 0.01, 0.1, 1.0, 100.0}) {
    double const error = error_of(window, tightkv::refit_output(sums, r.start.view(), ridge));
    EXPECT_GE(error, previous);
    previous = error;
  }
  EXPECT_LT(previous, error_of(window, r.start));
}

TEST(output_refit, solves_the_ridge_regression_it_says) {
  // The gradient of ||Y - Z (W + D)||^2 + ridge tr(Z^T Z) / inputs ||D||^2 vanishes.
  regression const r;
  auto const window = r.draw(30, 6);
  auto const sums = sums_of(window);
  auto const refitted = tightkv::refit_output(sums, r.start.view(), 0.3);
  double trace = 0;
  for (int i = 0; i < 10; ++i) trace += sums.products()(i, i);
  auto const got = linear(window.z, refitted, {});
  for (int o = 0; o < 6; ++o) {
    for (int i = 0; i < 10; ++i) {
      double gradient = 0.3 * trace / 10 * (static_cast<double>(refitted(o, i)) - static_cast<double>(r.start(o, i)));
      for (int t = 0; t < 30; ++t) {
        gradient -= static_cast<double>(window.z(t, i)) * (static_cast<double>(window.y(t, o)) - got(t, o));
      }
      EXPECT_NEAR(gradient, 0, 1e-5 * trace);
    }
  }
}

TEST(output_refit, of_shards_adds_up) {
  regression const r;
  auto const whole = r.draw(600, 7);
  auto const part = [&](int begin, int end) {
    tightkv::refit_sums sums(10, 6);
    sums.add({whole.z.view().row(begin), end - begin, 10}, {whole.y.view().row(begin), end - begin, 6});
    return sums;
  };
  auto sums = part(0, 300);
  sums += part(300, 301);
  sums += part(301, 600);
  auto const want = sums_of(whole);
  EXPECT_EQ(sums.rows(), want.rows());
  EXPECT_NEAR(sums.target_energy(), want.target_energy(), 1e-12 * want.target_energy());
  for (int i = 0; i < 10; ++i) {
    for (int j = 0; j < 10; ++j) {
      EXPECT_NEAR(sums.products()(i, j), want.products()(i, j), 1e-12 * want.products()(i, i) + 1e-9);
      EXPECT_EQ(sums.products()(i, j), sums.products()(j, i));
    }
    for (int o = 0; o < 6; ++o) EXPECT_NEAR(sums.cross()(i, o), want.cross()(i, o), 1e-9);
  }
}

TEST(output_refit, leaves_out_and_counts_tokens_that_are_not_finite) {
  regression const r;
  auto const clean = r.draw(20, 8);
  auto dirty = clean;
  dirty.z(3, 4) = NAN;
  dirty.y(9, 0) = std::numeric_limits<float>::infinity();
  auto const sums = sums_of(dirty);
  EXPECT_EQ(sums.rows(), (tightkv::rows_counted{.added = 18, .not_finite = 2}));
  double energy = 0;
  for (int t = 0; t < 20; ++t) {
    for (int o = 0; o < 6 && t != 3 && t != 9; ++o) energy += static_cast<double>(clean.y(t, o) * clean.y(t, o));
  }
  EXPECT_NEAR(sums.target_energy(), energy, 1e-5 * energy);
}

TEST(output_refit, chooses_the_ridge_that_does_best_elsewhere) {
  regression const r;
  constexpr std::array ridges{1e-6, 1e-3, 0.03, 1.0, 30.0};
  auto const fitted = r.draw(12, 10, 3);  // few tokens, much noise: the smallest ridge overfits
  auto const elsewhere = r.draw(200, 11, 3);
  auto const chosen = tightkv::choose_refit(sums_of(fitted), sums_of(elsewhere), r.start.view(), ridges);
  double best = std::numeric_limits<double>::infinity();
  double best_ridge = 0;
  for (double const ridge : ridges) {
    double const error = error_of(elsewhere, tightkv::refit_output(sums_of(fitted), r.start.view(), ridge));
    if (error < best) {
      best = error;
      best_ridge = ridge;
    }
  }
  EXPECT_EQ(chosen.ridge, best_ridge);
  EXPECT_GT(chosen.ridge, 1e-6);
  EXPECT_NEAR(chosen.held_out_after.lost, best, 1e-6 * best);
  EXPECT_NEAR(chosen.held_out_before.lost, error_of(elsewhere, r.start), 1e-6 * best);
  // What comes back is fitted to both.
  auto both = sums_of(fitted);
  both += sums_of(elsewhere);
  EXPECT_EQ(chosen.output(2, 3), tightkv::refit_output(both, r.start.view(), best_ridge)(2, 3));

  // With much data and little noise, the smallest.
  auto const plenty =
      tightkv::choose_refit(sums_of(r.draw(2000, 12, 0.01F)), sums_of(r.draw(300, 13, 0.01F)), r.start.view(), ridges);
  EXPECT_EQ(plenty.ridge, 1e-6);
}

TEST(output_refit, keeps_what_was_there_where_no_ridge_does_better) {
  regression const r;
  auto const misleading = r.draw(5, 14, 50);
  auto const elsewhere = r.draw(100, 15, 0);
  auto const chosen =
      tightkv::choose_refit(sums_of(misleading), sums_of(elsewhere), r.true_output.view(), std::array{1e-6, 1e-3});
  EXPECT_EQ(chosen.ridge, std::numeric_limits<double>::infinity());
  EXPECT_EQ(chosen.output(1, 2), r.true_output(1, 2));
  EXPECT_EQ(chosen.held_out_after.lost, chosen.held_out_before.lost);
}

TEST(output_refit, refuses_what_has_no_answer) {
  regression const r;
  auto const few = sums_of(r.draw(4, 16));  // 4 tokens, 10 inputs
  EXPECT_THROW(tightkv::refit_output(few, r.start.view(), 0), tightkv::bad_argument);
  EXPECT_EQ(tightkv::refit_output(few, r.start.view(), 1e-6).rows(), 6);
  EXPECT_THROW(tightkv::refit_output(few, r.start.view(), -0.1), tightkv::bad_argument);
  EXPECT_THROW(tightkv::refit_output(few, r.start.view(), NAN), tightkv::bad_argument);
  EXPECT_THROW(tightkv::refit_output(few, numbers(10, 6).view(), 1), tightkv::bad_argument);
  EXPECT_THROW(tightkv::refit_output(tightkv::refit_sums(10, 6), r.start.view(), 1), tightkv::bad_argument);
  EXPECT_THROW(tightkv::choose_refit(few, few, r.start.view(), {}), tightkv::bad_argument);
  auto sums = few;
  EXPECT_THROW(sums.add(numbers(3, 9).view(), numbers(3, 6).view()), tightkv::bad_argument);
  EXPECT_THROW(sums.add(numbers(3, 10).view(), numbers(2, 6).view()), tightkv::bad_argument);
  EXPECT_THROW(sums += tightkv::refit_sums(10, 7), tightkv::bad_argument);
  EXPECT_THROW(tightkv::refit_sums(0, 3), tightkv::bad_argument);
}

}  // namespace
