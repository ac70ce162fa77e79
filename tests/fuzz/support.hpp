// SPDX-License-Identifier: Apache-2.0
/// What every fuzz target shares: the contract, numbers out of bytes, and a way to touch memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <tightkv/core/error.hpp>

namespace fuzz {

/// The contract is broken. Not a `bad_argument`, so it is never taken for a refusal.
struct violation : std::logic_error {
  using std::logic_error::logic_error;
};

inline void require(bool ok, char const* what) {
  if (!ok) throw violation(what);
}

/// Bytes asked of `operator new`, counted by `counting_new.hpp`; never goes down.
inline std::size_t allocated = 0;

/// Reads every byte, so that a sanitizer sees where they are.
inline void touch(std::span<std::byte const> bytes) {
  unsigned volatile sum = 0;  // volatile: a read nobody needs would be left out
  for (auto const b : bytes) sum = sum + std::to_integer<unsigned>(b);
}

/// True when `inner` lies in `outer`.
inline bool inside(std::span<std::byte const> inner, std::span<std::byte const> outer) {
  return inner.empty() || (inner.data() >= outer.data() && inner.data() + inner.size() <= outer.data() + outer.size());
}

/// Numbers out of bytes; zeros when there are no more.
class numbers {
 public:
  explicit numbers(std::span<std::byte const> bytes) : rest_(bytes) {}

  std::uint32_t next() {
    std::uint32_t value = 0;
    auto const n = std::min(rest_.size(), sizeof(std::uint16_t));
    if (n != 0) std::memcpy(&value, rest_.data(), n);
    rest_ = rest_.subspan(n);
    return value;
  }
  /// A number in [low, high].
  int in(int low, int high) { return low + static_cast<int>(next() % static_cast<std::uint32_t>(high - low + 1)); }
  bool one_in(int n) { return in(1, n) == n; }
  /// Usually `good`, now and then what somebody could pass by mistake.
  int or_wrong(int good) {
    if (!one_in(32)) return good;
    constexpr int large = 1 << 20;  // beyond any memory here, though looping over it takes no time
    int const wrong[]{-1, 0, 1, good - 1, good + 1, -good, -large, large};
    return wrong[in(0, 7)];
  }

 private:
  std::span<std::byte const> rest_;
};

/// Runs a target on one input: it works, or refuses with `bad_argument`, and its memory stays in proportion. The input
/// is given in memory of exactly its size, so that a sanitizer sees the first byte read past it.
template <class Target>
void run(std::span<std::byte const> input) {
  std::unique_ptr<std::byte[]> const copy(new std::byte[input.size()]);
  std::copy(input.begin(), input.end(), copy.get());
  auto const before = allocated;
  try {
    Target::run({copy.get(), input.size()});
  } catch (tightkv::bad_argument const&) {}
  require(allocated - before <= 65536 + 64 * input.size(), "memory out of proportion to the input");
}

}  // namespace fuzz
