// SPDX-License-Identifier: Apache-2.0
/// Any parameters for any layout: refused, or every value lies where the layout's picture says, inside the memory.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <fuzz/mutate.hpp>
#include <fuzz/planes.hpp>
#include <fuzz/support.hpp>

namespace fuzz {

struct views {
  static constexpr char const* name = "views";

  static std::vector<std::string> seeds() { return random_seeds(256, 96); }

  static void run(std::span<std::byte const> input) {
    numbers in(input);
    with_plane(in, false, [](auto const& plane, cache& c) {
      for (int h = 0; h < plane.heads(); ++h) {
        auto const head = plane.head(h);
        require(head.tokens() == plane.tokens(h), "a head has another length than the plane says");
        for (int t = 0; t < head.tokens(); ++t) {
          auto const row = head[t];
          for (int d = 0; d < plane.head_dim(); ++d) {
            auto const element = std::as_writable_bytes(std::span(&row[d], 1));
            require(inside(element, c.bytes), "a value lies outside the memory");
            require(element.data() == c.bytes.data() + c.offset(h, t, d), "a value lies elsewhere");
            std::memset(element.data(), h + t + d, element.size());
          }
        }
      }
    });
  }
};

}  // namespace fuzz
