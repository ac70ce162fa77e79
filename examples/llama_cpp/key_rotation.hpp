// SPDX-License-Identifier: Apache-2.0
/// RoPE by a number of positions, for keys that are in the cache already.
#pragma once

#include <vector>

#include "rows.hpp"
#include "session.hpp"

namespace tightkv::llama {

/// Turns keys as if their tokens had come `shift` positions later.
///
///     key_rotation(engine, -removed).apply(layer.keys);
class key_rotation {
 public:
  key_rotation(session const& engine, int shift);

  /// Plain RoPE, of neighbouring channels or of halves, without scaling.
  static bool knows(session const& engine);

  /// Keys are read and written in their own type, so they are rounded once.
  void apply(rows& keys) const;

 private:
  struct turned {
    float cosine, sine;
  };
  void turn(float* head) const;

  bool halves_;
  std::vector<turned> turns_;
};

}  // namespace tightkv::llama
