// SPDX-License-Identifier: Apache-2.0
/// Refitting W_O after a merge: the layer's output is linear in it, so the best one is a ridge regression.
#pragma once

#include <span>
#include <vector>

#include <tightkv/mergers/gram.hpp>

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
  refit_sums(int inputs, int outputs);

  int inputs() const noexcept { return products_.rows(); }
  int outputs() const noexcept { return cross_.cols(); }
  rows_counted const& rows() const noexcept { return rows_; }
  matrix_view<double const> products() const noexcept { return products_.view(); }  // z^T z
  matrix_view<double const> cross() const noexcept { return cross_.view(); }        // z^T y
  double target_energy() const noexcept { return target_energy_; }                  // sum of ||y||^2

  void add(matrix_view<float const> z, matrix_view<float const> y);
  refit_sums& operator+=(refit_sums const& other);

 private:
  matrix<double> products_;
  matrix<double> cross_;
  double target_energy_ = 0;
  rows_counted rows_;
};

/// W_O'' = W_O' + D, with D the minimum of ||Y - Z (W_O' + D)||^2 + ridge tr(Z^T Z) / inputs ||D||^2: nearest to the
/// target, but not far from where algebra put it. `output` is W_O' with a row per output feature (outputs x inputs), as
/// is the result. Ridge 0 is least squares and needs as many tokens as inputs. Throws `bad_argument` for a negative
/// ridge, sums without rows or of another shape, and where ridge 0 leaves the answer open.
matrix<float> refit_output(refit_sums const& sums, matrix_view<float const> output, double ridge);

/// ||Y - Z W||^2 and ||Y||^2 over the tokens of the sums.
struct refit_error {
  double lost = 0;
  double total = 0;
};
refit_error output_error(refit_sums const& sums, matrix_view<float const> output);

/// A refit with the ridge that does best on windows it was not fitted to.
struct chosen_refit {
  matrix<float> output;  // fitted to both sums together
  double ridge = 0;      // infinity: W_O' as it was does best, and is what `output` holds
  refit_error held_out_before;
  refit_error held_out_after;
};

/// Fits to `fitted` with each of the ridges, keeps the one with the least error on `held_out`, and fits again to both.
chosen_refit choose_refit(refit_sums const& fitted, refit_sums const& held_out, matrix_view<float const> output,
                          std::span<double const> ridges);

}  // namespace tightkv
