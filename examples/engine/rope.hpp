// SPDX-License-Identifier: Apache-2.0
/// RoPE: pairs of a head's dimensions are turned by an angle that grows with the token's position.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace engine {

/// The turns of a run of positions, worked out once and used for every head of every layer. GGUF files of the Llama
/// family hold queries and keys such that a pair is two neighbours: (0, 1), (2, 3), ...
///
///     engine::rope turns{{.dimensions = 64, .base = 100000}};
///     turns.add(position);
///     turns.turn(0, head);  // by the first position added
class rope {
 public:
  struct parameters {
    int dimensions = 0;
    float base = 10000;
  };

  explicit rope(parameters const& p) {
    for (int i = 0; i < p.dimensions; i += 2) {
      frequencies_.push_back(1.0F / std::pow(p.base, static_cast<float>(i) / static_cast<float>(p.dimensions)));
    }
  }

  void add(int position) {
    for (float const frequency : frequencies_) {
      float const angle = static_cast<float>(position) * frequency;
      turns_.push_back({std::cos(angle), std::sin(angle)});
    }
  }

  /// Turns one head in place by the i-th position added.
  void turn(int i, float* head) const noexcept {
    auto const* t = turns_.data() + static_cast<std::size_t>(i) * frequencies_.size();
    for (std::size_t pair = 0; pair < frequencies_.size(); ++pair, ++t) {
      float const x = head[2 * pair];
      float const y = head[2 * pair + 1];
      head[2 * pair] = x * t->cosine - y * t->sine;
      head[2 * pair + 1] = x * t->sine + y * t->cosine;
    }
  }

 private:
  struct one_turn {
    float cosine;
    float sine;
  };
  std::vector<float> frequencies_;
  std::vector<one_turn> turns_;
};

}  // namespace engine
