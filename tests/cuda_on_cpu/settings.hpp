// SPDX-License-Identifier: Apache-2.0
/// What a test can choose: the seed of the order in which threads run, and how strict to be.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

namespace cuda_on_cpu {

/// A kernel did what CUDA does not allow. `what()` says which kernel, block and thread, what, and the seed.
struct kernel_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Settings of the calling thread's launches.
struct settings_type {
  /// 0 runs blocks and threads in order; any other seed shuffles both, and lets threads be interrupted between
  /// accesses.
  std::uint64_t seed = [] {
    char const* const given = std::getenv("CUDA_ON_CPU_SEED");
    return given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
  }();
  /// Whether unsynchronised accesses to tracked shared memory are an error (or only show as wrong answers).
  bool report_races = true;
};

inline settings_type& settings() {
  static thread_local settings_type s;
  return s;
}

/// A small generator for the order of threads: xorshift*.
class random_order {
 public:
  explicit random_order(std::uint64_t seed) : shuffled_(seed != 0), state_(seed * 0x9e3779b97f4a7c15U | 1U) {}
  bool shuffled() const noexcept { return shuffled_; }
  /// A number below n, or 0 when nothing is to be shuffled.
  std::size_t below(std::size_t n) noexcept {
    if (!shuffled_) return 0;
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<std::size_t>((state_ * 0x2545f4914f6cdd1dU) >> 33) % n;
  }

 private:
  bool shuffled_;
  std::uint64_t state_;
};

}  // namespace cuda_on_cpu
