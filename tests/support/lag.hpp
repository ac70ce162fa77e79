// SPDX-License-Identifier: Apache-2.0
/// One head's rows, and what `lag_scores` makes of them.
#pragma once

#include <cstddef>
#include <vector>

#include <tightkv/ops/lag_scores.hpp>
#include <tightkv/view/layouts.hpp>

namespace tests {

/// Without values, `value_weight` is 0 unless it is set.
struct lag_case {
  int lag = 2;
  int first = 0;
  float value_weight = unset;
  int key_dim = 1;
  std::vector<float> keys{};
  int value_dim = 0;  // no values
  std::vector<float> values{};
  int room = -1;  // columns of the result, if not one per token
  int heads_given = 1;

  static constexpr float unset = -12345.0F;

  [[gnu::noinline]] std::vector<float> scores() const {
    int const tokens = static_cast<int>(keys.size()) / key_dim;
    std::vector<float> out(static_cast<std::size_t>(tokens), 7.0F);
    std::vector<int> const firsts(static_cast<std::size_t>(heads_given), first);
    float const otherwise = value_dim > 0 ? 1.0F : 0.0F;
    tightkv::lag_scores_fn::parameters const p{.partitions = {firsts, lag},
                                               .value_weight = value_weight == unset ? otherwise : value_weight};
    tightkv::matrix_view<float> const to{out.data(), 1, room < 0 ? tokens : room};
    auto const k = tightkv::hnd(keys.data(), {1, tokens, key_dim});
    if (value_dim > 0) {
      tightkv::lag_scores(tightkv::plain_cpu{},
                          tightkv::kv_view(k, tightkv::hnd(values.data(), {1, tokens, value_dim})), p, to);
    } else {
      tightkv::lag_scores(tightkv::plain_cpu{}, tightkv::kv_view(k), p, to);
    }
    return out;
  }
  std::vector<double> scores_in_double() const {
    auto const s = scores();
    return {s.begin(), s.end()};
  }
};

}  // namespace tests
