// SPDX-License-Identifier: Apache-2.0
/// Refitting W_O after a merge: the layer's output is linear in it, so the best one is a ridge regression.
#pragma once

#include <algorithm>
#include <limits>
#include <span>

#include <Eigen/Cholesky>
#include <tightkv/mergers/dense.hpp>
#include <tightkv/mergers/gram.hpp>
#include <tightkv/mergers/head_projection.hpp>

namespace tightkv {

/// Sums over tokens of the merged layer's input to W_O (z) and of the output it should have (y): z^T z, z^T y, ||y||^2.
///
///     tightkv::refit_sums sums(576, 576);
///     sums.add(z, y);             // tokens x inputs, tokens x outputs; again for each window
///     sums += of_another_window;
///
/// z comes from the model whose earlier layers are merged already, with their refits. y is the original layer's
/// attention output on the original's input; or, aiming at the residual stream, that plus (original hidden state -
/// merged hidden state) before the layer. A token with a value that is not finite is left out, and counted.
class refit_sums {
 public:
  refit_sums() = default;
  refit_sums(int inputs, int outputs) : products_(inputs, inputs), cross_(inputs, outputs) {
    detail::expects(inputs >= 1 && outputs >= 1, "refit_sums", "needs inputs and outputs", "inputs", inputs, "outputs",
                    outputs);
  }

  int inputs() const noexcept { return products_.rows(); }
  int outputs() const noexcept { return cross_.cols(); }
  rows_counted const& rows() const noexcept { return rows_; }
  matrix_view<double const> products() const noexcept { return products_.view(); }  // z^T z
  matrix_view<double const> cross() const noexcept { return cross_.view(); }        // z^T y
  double target_energy() const noexcept { return target_energy_; }                  // sum of ||y||^2

  void add(matrix_view<float const> z, matrix_view<float const> y);
  refit_sums& operator+=(refit_sums const& other);

 private:
  static constexpr int tile = 256;  // tokens

  matrix<double> products_;
  matrix<double> cross_;
  double target_energy_ = 0;
  rows_counted rows_;
};

namespace detail {

inline void check_refit(char const* who, refit_sums const& sums, matrix_view<float const> output) {
  expects(sums.rows().added >= 1, who, "the sums must be of at least one row", "rows", sums.rows().added);
  expects(output.rows == sums.outputs() && output.cols == sums.inputs(), who,
          "W_O must have a row per output and a column per input", "rows", output.rows, "cols", output.cols);
  expects(output.data != nullptr, who, "W_O must not be null");
}

/// Whether a Cholesky factor has no pivot that is rounding next to the largest.
inline bool is_regular(dense const& factor) {
  double least = factor(0, 0);
  double most = factor(0, 0);
  for (Eigen::Index i = 1; i < factor.rows(); ++i) {
    least = std::min(least, factor(i, i));
    most = std::max(most, factor(i, i));
  }
  return least > 1e-7 * most;  // of squares: 1e-14
}

}  // namespace detail

inline void refit_sums::add(matrix_view<float const> z, matrix_view<float const> y) {
  detail::expects(z.rows == y.rows, "refit_sums", "inputs and targets must be of the same tokens", "inputs", z.rows,
                  "targets", y.rows);
  detail::expects(z.cols == inputs() && y.cols == outputs(), "refit_sums", "rows must be as wide as the sums", "inputs",
                  z.cols, "outputs", y.cols);
  detail::expects(z.rows == 0 || (z.data != nullptr && y.data != nullptr), "refit_sums", "rows must not be null");
  auto const finite = [](matrix_view<float const> m, int t) {
    return detail::all_finite(row<float const>{m.row(t), m.cols});
  };
  for (int begin = 0; begin < z.rows; begin += tile) {
    int const end = std::min(begin + tile, z.rows);
    // Tokens that do not count stay zero.
    detail::dense inputs_of = detail::dense::Zero(inputs(), end - begin);
    detail::dense targets_of = detail::dense::Zero(end - begin, outputs());
    for (int t = begin; t < end; ++t) {
      if (!finite(z, t) || !finite(y, t)) {
        ++rows_.not_finite;
        continue;
      }
      ++rows_.added;
      for (int c = 0; c < inputs(); ++c) inputs_of(c, t - begin) = static_cast<double>(z(t, c));
      for (int c = 0; c < outputs(); ++c) {
        auto const target = static_cast<double>(y(t, c));
        targets_of(t - begin, c) = target;
        target_energy_ += target * target;
      }
    }
    detail::rank_update(products_.view(), inputs_of);
    auto const product = detail::multiply(inputs_of, targets_of);
    for (int r = 0; r < inputs(); ++r) {
      for (int c = 0; c < outputs(); ++c) cross_(r, c) += product(r, c);
    }
  }
  detail::mirror(products_.view());
}

inline refit_sums& refit_sums::operator+=(refit_sums const& other) {
  detail::expects(other.inputs() == inputs() && other.outputs() == outputs(), "refit_sums",
                  "sums of another shape do not add", "inputs", other.inputs(), "outputs", other.outputs());
  for (int r = 0; r < inputs(); ++r) {
    for (int c = 0; c < inputs(); ++c) products_(r, c) += other.products_(r, c);
    for (int c = 0; c < outputs(); ++c) cross_(r, c) += other.cross_(r, c);
  }
  target_energy_ += other.target_energy_;
  rows_.added += other.rows_.added;
  rows_.not_finite += other.rows_.not_finite;
  return *this;
}

/// ||Y - Z W||^2 and ||Y||^2 over the tokens of the sums. `output` is W with a row per output feature.
inline energy output_energy(refit_sums const& sums, matrix_view<float const> output) {
  detail::check_refit("output_energy", sums, output);
  auto const w = detail::transposed(detail::to_dense(output));
  auto const products = detail::multiply(detail::to_dense(sums.products()), w);
  double lost = sums.target_energy();
  for (int i = 0; i < sums.inputs(); ++i) {
    for (int o = 0; o < sums.outputs(); ++o) lost += w(i, o) * (products(i, o) - 2 * sums.cross()(i, o));
  }
  return {.total = sums.target_energy(), .lost = std::max(0.0, lost)};
}

/// W_O'' = W_O' + D, with D the minimum of ||Y - Z (W_O' + D)||^2 + ridge tr(Z^T Z) / inputs ||D||^2: nearest to the
/// target, but not far from where algebra put it. `output` is W_O' with a row per output feature (outputs x inputs), as
/// is the result.
///
///     auto const refitted = tightkv::refit_output(sums, merged.output.view(), 0.01);
///
/// A ridge of 0 is least squares, and needs inputs that are independent. Throws `bad_argument` for a ridge that is
/// negative or not finite, sums without rows or of another shape, and where a ridge of 0 leaves the answer open. Cost:
/// inputs^3 / 3 + 2 inputs^2 outputs multiply-adds.
inline matrix<float> refit_output(refit_sums const& sums, matrix_view<float const> output, double ridge) {
  detail::check_refit("refit_output", sums, output);
  detail::expects(ridge >= 0 && ridge - ridge == 0, "refit_output", "the ridge must be finite and not negative",
                  "ridge", ridge);
  auto products = detail::to_dense(sums.products());
  auto const w = detail::transposed(detail::to_dense(output));
  detail::dense const open = detail::to_dense(sums.cross()) - detail::multiply(products, w);  // Z^T (Y - Z W_O')
  double const added = ridge * products.trace() / sums.inputs();
  for (int i = 0; i < sums.inputs(); ++i) products(i, i) += added;
  Eigen::LLT<detail::dense> const solver(products);
  detail::expects(solver.info() == Eigen::Success && detail::is_regular(solver.matrixLLT()), "refit_output",
                  "the inputs are not independent: the ridge must be positive", "ridge", ridge);
  detail::dense const change = solver.solve(open);

  matrix<float> result(output.rows, output.cols);
  for (int o = 0; o < output.rows; ++o) {
    for (int i = 0; i < output.cols; ++i) result(o, i) = static_cast<float>(w(i, o) + change(i, o));
  }
  return result;
}

/// A refit, and how far it is from the target on windows that chose the ridge but were not fitted.
struct chosen_refit {
  matrix<float> output;
  double ridge = 0;  // infinity where W_O' as it was does best
  energy held_out_before;
  energy held_out_after;
};

/// Fits to `fitted` with each of the ridges, keeps the one with the least error on `held_out`, and then fits to both
/// together. Where none does better than W_O' as it is, that is what `output` holds.
///
///     auto const refit = tightkv::choose_refit(five_windows, the_sixth, w_o, std::array{0.001, 0.01, 0.1, 1.0});
inline chosen_refit choose_refit(refit_sums const& fitted, refit_sums const& held_out, matrix_view<float const> output,
                                 std::span<double const> ridges) {
  detail::expects(!ridges.empty(), "choose_refit", "needs at least one ridge");
  auto const before = output_energy(held_out, output);
  chosen_refit best{{}, std::numeric_limits<double>::infinity(), before, before};
  for (double const ridge : ridges) {
    auto const after = output_energy(held_out, refit_output(fitted, output, ridge).view());
    if (after.lost < best.held_out_after.lost) {
      best.ridge = ridge;
      best.held_out_after = after;
    }
  }
  if (best.ridge == std::numeric_limits<double>::infinity()) {
    best.output = {output.rows, output.cols};
    for (int r = 0; r < output.rows; ++r) std::copy_n(output.row(r), output.cols, best.output.view().row(r));
    return best;
  }
  auto all = fitted;
  all += held_out;
  best.output = refit_output(all, output, best.ridge);
  return best;
}

}  // namespace tightkv
