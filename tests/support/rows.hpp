// SPDX-License-Identifier: Apache-2.0
/// What a cache holds, whatever its layout: the rows of each head, made of random numbers or of random bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/core/half.hpp>

namespace tests {

/// How many rows each head has, and of how many values.
struct extents {
  std::vector<int> lengths;
  int head_dim = 0;

  int heads() const { return static_cast<int>(lengths.size()); }
  int length(int h) const { return lengths[static_cast<std::size_t>(h)]; }
  int longest() const { return lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end()); }
};

/// `lengths[h]` rows of `head_dim` elements for each head h. The element type is not part of the type: what handles
/// rows is compiled once, not once per element type and layout.
struct rows : extents {
  std::size_t element_bytes = 0;
  std::vector<std::byte> values;

  rows(extents const& e, std::size_t bytes_each)
      : extents(e),
        element_bytes(bytes_each),
        values(static_cast<std::size_t>(heads() * longest() * head_dim) * bytes_each) {}

  std::byte* at(int h, int t, int d) { return values.data() + index(h, t, d); }
  std::byte const* at(int h, int t, int d) const { return values.data() + index(h, t, d); }

  template <class T>
  T get(int h, int t, int d) const {
    T x;
    std::memcpy(&x, at(h, t, d), sizeof x);
    return x;
  }
  template <class T>
  void set(int h, int t, int d, T x) {
    std::memcpy(at(h, t, d), &x, sizeof x);
  }

  /// The rows of one head alone.
  rows only(int h) const {
    rows one({{length(h)}, head_dim}, element_bytes);
    std::memcpy(one.values.data(), at(h, 0, 0), one.values.size());
    return one;
  }

 private:
  std::size_t index(int h, int t, int d) const {
    return static_cast<std::size_t>((h * longest() + t) * head_dim + d) * element_bytes;
  }
};

/// The value of an element, and the element of a value.
template <class T>
double value_of(T x) {
  return static_cast<double>(static_cast<float>(x));
}
template <class T>
T element(double x) {
  return T(static_cast<float>(x));
}

/// Bell-shaped numbers of about unit variance.
inline std::vector<double> random_numbers(std::size_t count, unsigned seed) {
  std::vector<double> numbers(count);
  std::mt19937 random(seed);
  for (double& x : numbers) {
    x = -2.0;
    for (int i = 0; i < 4; ++i) x += static_cast<double>(random()) * 0x1p-32;
    x *= 1.7;
  }
  return numbers;
}

/// Rows of random numbers; for `std::byte`, of random bytes.
template <class T>
rows random_rows(extents const& e, unsigned seed) {
  rows r(e, sizeof(T));
  auto const numbers = random_numbers(r.values.size() / sizeof(T), seed);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    T x;
    if constexpr (std::is_same_v<T, std::byte>) {
      x = static_cast<std::byte>(static_cast<int>(numbers[i] * 1000) & 255);
    } else {
      x = element<T>(numbers[i]);
    }
    std::memcpy(r.values.data() + i * sizeof(T), &x, sizeof x);
  }
  return r;
}

/// The element types, for typed tests.
using elements = ::testing::Types<float, tightkv::half, tightkv::bfloat16>;

struct element_names {
  template <class T>
  static std::string GetName(int) {
    if constexpr (std::is_same_v<T, float>) return "float";
    if constexpr (std::is_same_v<T, tightkv::half>) return "half";
    if constexpr (std::is_same_v<T, tightkv::bfloat16>) return "bfloat16";
    return "bytes";
  }
};

/// Head dimensions of real models; 80 and 96 are no powers of two.
inline constexpr int head_dims[] = {64, 80, 96, 128, 256};
/// Query heads per KV head.
inline constexpr int gqa_groups[] = {1, 3, 7};

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

/// The same bits, or NaN on both sides.
inline bool same(float a, float b) { return bits_of(a) == bits_of(b) || (a != a && b != b); }

}  // namespace tests
