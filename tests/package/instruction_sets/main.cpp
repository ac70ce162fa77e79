// SPDX-License-Identifier: Apache-2.0
/// Translation units for any x86-64, for v3 and for v4, in one program: each has the kernels that it was compiled for,
/// and no other's, and all give the same results. What the machine does not have is not run.
#include "results.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <vector>

namespace {

bool same_bits(std::vector<float> const& a, std::vector<float> const& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

bool near(std::vector<float> const& a, std::vector<float> const& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::isnan(x) ? std::isnan(y) : std::abs(x - y) <= 8e-6F * std::abs(y);
  });
}

bool expect(bool is_so, char const* what) {
  if (!is_so) std::cerr << what << '\n';
  return is_so;
}

}  // namespace

int main() {
  using tightkv::instruction_set;
  bool const has_v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool const has_v4 = has_v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!has_v3) return 77;
  auto const any = results_of_any();
  auto const v3 = results_of_v3();
  bool good = expect(any.run.size() == (has_v4 ? 2U : 1U), "a program for any x86-64 must have kernels for v3 and v4");
  good &=
      expect(any.best == (has_v4 ? instruction_set::x86_64_v4 : instruction_set::x86_64_v3), "it must take the best");
  good &= expect(v3.run == std::vector{instruction_set::x86_64_v3} && v3.best == v3.run[0], "v3 must be pinned");
  good &= expect(same_bits(any.exact, v3.exact) && any.kept == v3.kept && near(any.attention, v3.attention),
                 "v3 gives other results");
  if (has_v4) {
    auto const v4 = results_of_v4();
    good &= expect(v4.run == std::vector{instruction_set::x86_64_v4} && v4.best == v4.run[0], "v4 must be pinned");
    good &= expect(same_bits(any.exact, v4.exact) && any.kept == v4.kept && near(any.attention, v4.attention),
                   "v4 gives other results");
  }
  return good ? 0 : 1;
}
