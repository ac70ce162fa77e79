// SPDX-License-Identifier: Apache-2.0
/// Makes hostile inputs out of valid ones. The same generator gives the same input on every machine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace fuzz {

using generator = std::mt19937_64;

/// A number below `n`, or 0; the standard's distributions differ from library to library.
inline std::size_t below(generator& random, std::size_t n) {
  return n == 0 ? 0 : static_cast<std::size_t>(random() % n);
}

/// Lengths, counts and offsets that break arithmetic: around zero, around every power of two, around `size`.
inline std::uint64_t interesting(generator& random, std::size_t size) {
  auto const nudge = random() % 5 - 2;  // wraps: -2 .. 2
  switch (below(random, 4)) {
    case 0:
      return nudge;
    case 1:
      return (std::uint64_t{1} << below(random, 64)) + nudge;
    case 2:
      return size + nudge;
    default:
      return below(random, 2 * size + 1);
  }
}

/// Where to change: anywhere, but mostly near the front, where headers are.
inline std::size_t place(generator& random, std::size_t size) {
  return below(random, std::min<std::size_t>(size, std::size_t{1} << (3 + below(random, 14))));
}

inline void mutate_once(std::string& bytes, std::vector<std::string> const& seeds, generator& random) {
  auto const at = place(random, bytes.size());
  auto const length = below(random, std::min<std::size_t>(bytes.size() - at, 64) + 1);
  switch (below(random, 10)) {
    case 0:
      if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(random, 8)));
      break;
    case 1:
      if (!bytes.empty()) bytes[at] = static_cast<char>(random());
      break;
    case 2:
      if (!bytes.empty()) bytes[at] = "{}[]\",:-.0129eE\\u\n \0\x7f\x80\xff"[below(random, 24)];
      break;
    case 3:
      bytes.resize(below(random, 2) == 0 ? at : below(random, bytes.size() + 1));
      break;
    case 4: {  // the end of another input
      auto const& other = seeds[below(random, seeds.size())];
      bytes.resize(at);
      bytes.append(other, below(random, 2) == 0 ? std::min(at, other.size()) : below(random, other.size()));
      break;
    }
    case 5:
    case 6: {  // a binary length, count, type or offset
      auto const value = interesting(random, bytes.size());
      auto const width = std::min<std::size_t>(std::size_t{1} << below(random, 4), bytes.size() - at);
      for (std::size_t i = 0; i < width; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i) & 0xff);
      break;
    }
    case 7: {  // a length, count or offset in digits
      auto const first = bytes.find_first_of("0123456789", at);
      if (first == bytes.npos) break;
      auto const last = std::min(bytes.find_first_not_of("0123456789", first), bytes.size());
      bytes.replace(first, last - first, std::to_string(interesting(random, bytes.size())));
      break;
    }
    case 8:
      bytes.erase(at, length);
      break;
    default:
      bytes.insert(place(random, bytes.size() + 1), std::string(bytes, at, length));
      break;
  }
}

/// A seed with one to eight changes.
inline std::string mutated(std::vector<std::string> const& seeds, generator& random) {
  auto bytes = seeds[below(random, seeds.size())];
  for (auto n = 1 + below(random, std::size_t{1} << below(random, 4)); n > 0; --n) mutate_once(bytes, seeds, random);
  if (bytes.size() > 65536) bytes.resize(65536);
  return bytes;
}

/// Seeds for targets that take numbers out of any bytes.
inline std::vector<std::string> random_seeds(std::size_t count, std::size_t size) {
  generator random(1);
  std::vector<std::string> seeds(count, std::string(size, '\0'));
  for (auto& s : seeds) std::generate(s.begin(), s.end(), [&] { return static_cast<char>(random() >> 11); });
  return seeds;
}

}  // namespace fuzz
