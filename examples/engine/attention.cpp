// SPDX-License-Identifier: Apache-2.0
#include "attention.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "convert.hpp"

namespace engine {
namespace {

using rows_of_floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using per_row = Eigen::Array<float, Eigen::Dynamic, 1>;
using rows_map = Eigen::Map<rows_of_floats const>;
using head_map = Eigen::Map<rows_of_floats const, 0, Eigen::OuterStride<>>;

/// Rows [first, first + count) of a head as floats: where they lie, or converted.
template <class T>
rows_map rows_as_float(T const* head, int first, int count, int dim, std::vector<float>& scratch) {
  auto const* from = head + std::ptrdiff_t{first} * dim;
  if constexpr (std::is_same_v<T, float>) {
    return {from, count, dim};
  } else {
    scratch.resize(static_cast<std::size_t>(count) * static_cast<std::size_t>(dim));
    to_float(from, std::ptrdiff_t{count} * dim, scratch.data());
    return {scratch.data(), count, dim};
  }
}

/// One KV head, a few new tokens, and the query heads that share it. Rows of `queries` and `sums` are (query head,
/// token).
template <class T>
class tile {
 public:
  struct extent {
    int kv_head;
    int first_token;
    int tokens;
  };

  tile(attention_of<T> const& sequence, extent const& e)
      : s_(sequence),
        e_(e),
        dim_(s_.cache.shape().head_dim),
        group_(s_.queries.cols / dim_ / s_.cache.shape().kv_heads) {
    queries_.resize(group_ * e_.tokens, dim_);
    for (int g = 0; g < group_; ++g) queries_.middleRows(g * e_.tokens, e_.tokens) = head_of(s_.queries, g);
    queries_ /= std::sqrt(static_cast<float>(dim_));
    sums_.setZero(queries_.rows(), dim_);
    maxima_.setConstant(queries_.rows(), -std::numeric_limits<float>::infinity());
    weights_.setZero(queries_.rows());
  }

  void run() {
    int const past = s_.cache.length(s_.layer, e_.kv_head);
    int const end = past + e_.first_token + e_.tokens;
    constexpr int at_once = 256;
    for (int row = 0; row < end; row += at_once) add_rows(row, std::min(at_once, end - row), past);
    sums_.array().colwise() /= weights_;
    int const value_dim = dim_ / s_.values_per_row;
    for (int g = 0; g < group_; ++g) {
      int const part = g * s_.values_per_row / group_;
      Eigen::Map<rows_of_floats, 0, Eigen::OuterStride<>>(at(s_.out, g, value_dim), e_.tokens, value_dim,
                                                          Eigen::OuterStride<>(s_.out.stride)) =
          sums_.block(g * e_.tokens, part * value_dim, e_.tokens, value_dim);
    }
  }

 private:
  template <class Float>
  Float* at(tightkv::matrix_view<Float> const& m, int g, int dim) const {
    return m.row(e_.first_token) + (e_.kv_head * group_ + g) * dim;
  }
  head_map head_of(tightkv::matrix_view<float const> const& m, int g) const {
    return {at(m, g, dim_), e_.tokens, dim_, Eigen::OuterStride<>(m.stride)};
  }

  void add_rows(int first, int count, int past) {
    auto const head = e_.kv_head * s_.cache.head_stride();
    auto const keys = rows_as_float(s_.cache.keys(s_.layer) + head, first, count, dim_, scratch_);
    scores_.resize(queries_.rows(), count);
    if (few()) {
      for (Eigen::Index r = 0; r < queries_.rows(); ++r) scores_.row(r).noalias() = queries_.row(r) * keys.transpose();
    } else {
      scores_.noalias() = queries_ * keys.transpose();
    }
    for (int g = 0; g < group_; ++g) {
      for (int i = 0; i < e_.tokens; ++i) {
        // Token i sees the rows before it and its own: [0, past + i].
        int const seen = std::clamp(past + e_.first_token + i + 1 - first, 0, count);
        soften(g * e_.tokens + i, seen);
      }
    }
    auto const values = rows_as_float(s_.cache.values(s_.layer) + head, first, count, dim_, scratch_);
    if (few()) {
      for (Eigen::Index r = 0; r < queries_.rows(); ++r) sums_.row(r).noalias() += scores_.row(r) * values;
    } else {
      sums_.noalias() += scores_ * values;
    }
  }

  /// Scores to weights; what was summed so far was relative to an older maximum.
  void soften(int r, int seen) {
    scores_.row(r).tail(scores_.cols() - seen).setZero();
    if (seen == 0) return;
    Eigen::Map<Eigen::ArrayXf> scores(scores_.row(r).data(), seen);
    float const maximum = std::max(maxima_(r), scores.maxCoeff());
    float const shrink = std::exp(maxima_(r) - maximum);
    maxima_(r) = maximum;
    scores = (scores - maximum).exp();
    weights_(r) = weights_(r) * shrink + scores.sum();
    sums_.row(r) *= shrink;
  }

  /// So few that a matrix product would spend its time on rearranging the rows of the cache.
  bool few() const { return queries_.rows() <= 8; }

  attention_of<T> const& s_;
  extent e_;
  int dim_;
  int group_;
  rows_of_floats queries_;
  rows_of_floats scores_;
  rows_of_floats sums_;
  per_row maxima_;
  per_row weights_;
  std::vector<float> scratch_;
};

}  // namespace

template <tightkv::numeric_element T>
void attend(thread_pool& pool, std::span<attention_of<T> const> sequences) {
  struct task {
    attention_of<T> const* sequence;
    typename tile<T>::extent extent;
  };
  constexpr int tokens_at_once = 64;
  std::vector<task> tasks;
  for (auto const& s : sequences) {
    for (int first = 0; first < s.queries.rows; first += tokens_at_once) {
      for (int h = 0; h < s.cache.shape().kv_heads; ++h) {
        tasks.push_back(
            {&s, {.kv_head = h, .first_token = first, .tokens = std::min(tokens_at_once, s.queries.rows - first)}});
      }
    }
  }
  std::ranges::reverse(tasks);  // the last tokens see most rows: the longest tasks first
  pool.run(static_cast<int>(tasks.size()), [&](int i) {
    auto const& t = tasks[static_cast<std::size_t>(i)];
    tile<T>(*t.sequence, t.extent).run();
  });
}

template void attend<float>(thread_pool&, std::span<attention_of<float> const>);
template void attend<tightkv::half>(thread_pool&, std::span<attention_of<tightkv::half> const>);
template void attend<tightkv::bfloat16>(thread_pool&, std::span<attention_of<tightkv::bfloat16> const>);

}  // namespace engine
