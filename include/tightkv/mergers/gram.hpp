// SPDX-License-Identifier: Apache-2.0
/// `gram`: all that the mergers need to know of calibration rows, as sums, so that shards of a calibration add up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <tightkv/ops/gram_update.hpp>

namespace tightkv {

/// Of rows x of `size` channels: the sum of x^T x, the sum of x, and how many rows there were. All in double.
///
///     tightkv::gram keys(8 * 128);            // 8 heads side by side
///     keys.add(tightkv::eigen_cpu{}, cached_keys);  // a plane of 8 heads, any layout; again for each batch
///     keys += from_another_machine;
///
/// A row that holds a value which is not finite is left out, and counted in `rows().not_finite`.
class gram {
 public:
  gram() = default;
  explicit gram(int size) : products_(size, size), sums_(static_cast<std::size_t>(size)) {
    detail::expects(size >= 1, "gram", "needs at least one channel", "size", size);
  }
  /// Sums that were kept elsewhere. Throws `bad_argument` unless they are square, symmetric, finite and of one size.
  gram(matrix<double> products, std::vector<double> sums, rows_counted const& rows);

  int size() const noexcept { return products_.rows(); }
  matrix_view<double const> products() const noexcept { return products_.view(); }
  std::span<double const> sums() const noexcept { return sums_; }
  rows_counted const& rows() const noexcept { return rows_; }

  /// Adds the rows of a group of heads, side by side, at each token.
  template <executor E, readable_plane P>
  requires reachable_from<P, E>
  void add(E const& ex, P const& rows, head_range const& group) {
    gram_update(ex, rows, group, gram_view<>{products_.view(), sums_.data(), &rows_});
  }
  /// Adds the rows of all heads of a plane, side by side.
  template <executor E, readable_plane P>
  requires reachable_from<P, E>
  void add(E const& ex, P const& rows) { add(ex, rows, {.first = 0, .heads = rows.heads()}); }
  /// Adds plain rows: tokens x size.
  template <executor E>
  void add(E const& ex, matrix_view<float const> rows, int skip = 0) {
    auto const stride = detail::bytes_of<float>(rows.stride);
    add(ex,
        plane(rows.data, strided{.heads = 1, .tokens = rows.rows, .head_stride = 0, .token_stride = stride}, rows.cols),
        {.skip = skip});
  }

  /// Adds the sums of other rows of the same kind. Throws `bad_argument` when they have another number of channels.
  gram& operator+=(gram const& other);

 private:
  matrix<double> products_;
  std::vector<double> sums_;
  rows_counted rows_;
};

inline gram::gram(matrix<double> products, std::vector<double> sums, rows_counted const& rows)
    : products_(std::move(products)), sums_(std::move(sums)), rows_(rows) {
  detail::expects(products_.rows() >= 1 && products_.cols() == products_.rows(), "gram", "products must be square",
                  "rows", products_.rows(), "cols", products_.cols());
  detail::expects(static_cast<int>(sums_.size()) == size(), "gram", "needs a sum per channel", "sums", sums_.size(),
                  "channels", size());
  detail::expects(rows_.added >= 0 && rows_.not_finite >= 0, "gram", "rows cannot be fewer than none", "rows",
                  rows_.added);
  for (int a = 0; a < size(); ++a) {
    double const sum = sums_[static_cast<std::size_t>(a)];
    detail::expects(sum - sum == 0, "gram", "sums must be finite", "channel", a);
    for (int b = 0; b <= a; ++b) {
      double const x = products_(a, b);
      detail::expects(x - x == 0 && x == products_(b, a), "gram", "products must be finite and symmetric", "row", a,
                      "column", b);
    }
    detail::expects(products_(a, a) >= 0, "gram", "a sum of squares cannot be negative", "channel", a);
  }
}

inline gram& gram::operator+=(gram const& other) {
  detail::expects(other.size() == size(), "gram", "sums of rows of another width do not add", "size", size(), "other",
                  other.size());
  for (int a = 0; a < size(); ++a) {
    for (int b = 0; b < size(); ++b) products_(a, b) += other.products_(a, b);
    sums_[static_cast<std::size_t>(a)] += other.sums_[static_cast<std::size_t>(a)];
  }
  rows_.added += other.rows_.added;
  rows_.not_finite += other.rows_.not_finite;
  return *this;
}

}  // namespace tightkv
