// SPDX-License-Identifier: Apache-2.0
/// What the lanes of a warp do together: shuffles, votes, matches, and the order that `__syncwarp` gives to memory.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <ostream>

namespace cuda_on_cpu {

/// Where in the code a thread waits. (clang 14 cannot compile <source_location>.)
struct place {
  char const* file;
  unsigned line;
  static constexpr place here(char const* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return {file, line};
  }
  friend bool operator==(place const& a, place const& b) { return a.line == b.line && !std::strcmp(a.file, b.file); }
  friend std::ostream& operator<<(std::ostream& out, place const& p) {
    char const* const slash = std::strrchr(p.file, '/');
    return out << (slash == nullptr ? p.file : slash + 1) << ':' << p.line;
  }
};

enum class collective { syncwarp, shuffle, ballot, any, all, match_any, reduce_add, reduce_min, reduce_max };

inline char const* name_of(collective c) {
  constexpr std::array names{"__syncwarp",        "__shfl_*_sync",     "__ballot_sync",
                             "__any_sync",        "__all_sync",        "__match_any_sync",
                             "__reduce_add_sync", "__reduce_min_sync", "__reduce_max_sync"};
  return names[static_cast<std::size_t>(c)];
}

/// What a lane brings to a collective.
struct contribution {
  collective what;
  std::uint32_t mask;
  std::uint64_t value;
  int source;  // of a shuffle: the lane whose value it wants
  place where;
};

struct warp {
  std::array<contribution, 32> brought{};
  std::array<std::uint64_t, 32> result{};
  std::uint32_t waiting = 0;  // lanes that have brought something to a collective that is not complete
  std::uint32_t gone = 0;     // lanes that have finished, or that the block does not have
  bool agreed = true;         // they all brought the same as `first`
  contribution first{};

  /// True where nobody waits for anything else than `c`: the usual case, and the quick one.
  bool agree(contribution const& c) noexcept {
    if (waiting == 0) {
      first = c;
      return agreed = true;
    }
    return agreed = agreed && first.mask == c.mask && first.what == c.what;
  }

  /// A clock that ticks at each `__syncwarp`, and when two lanes last took part in the same one.
  std::uint32_t clock = 1;
  std::uint32_t all_synced = 0;
  std::array<std::array<std::uint32_t, 32>, 32> synced{};

  /// True when what lane a did at `time` is ordered before what lane b does now.
  bool ordered(unsigned a, unsigned b, std::uint32_t time) const noexcept {
    return a == b || all_synced >= time || synced[a][b] >= time;
  }
  void order(std::uint32_t lanes) noexcept {
    if (lanes == 0xffffffffU) {
      all_synced = clock;
    } else {
      for (unsigned a = 0; a < 32; ++a) {
        for (unsigned b = 0; b < 32; ++b) {
          if ((lanes >> a & 1U) != 0 && (lanes >> b & 1U) != 0) synced[a][b] = clock;
        }
      }
    }
    ++clock;
  }

  /// Every lane that `mask` names and that still runs has brought something to this collective.
  bool complete(std::uint32_t mask) const noexcept {
    if ((mask & ~gone & ~waiting) != 0) return false;
    for (std::uint32_t left = mask & ~gone; left != 0; left &= left - 1) {
      if (brought[static_cast<std::size_t>(std::countr_zero(left))].mask != mask) return false;
    }
    return true;
  }

  /// Works out the result of each lane of a complete collective.
  void finish(std::uint32_t mask) noexcept {
    std::uint32_t const lanes = mask & ~gone;
    auto const what = brought[static_cast<std::size_t>(std::countr_zero(lanes))].what;
    std::uint32_t votes = 0;
    for (unsigned l = 0; l < 32; ++l) {
      if ((lanes >> l & 1U) != 0 && brought[l].value != 0) votes |= 1U << l;
    }
    for (unsigned l = 0; l < 32; ++l) {
      if ((lanes >> l & 1U) == 0) continue;
      auto const& mine = brought[l];
      switch (what) {
        case collective::syncwarp:
          break;
        case collective::shuffle:
          result[l] = brought[static_cast<std::size_t>(mine.source)].value;
          break;
        case collective::ballot:
          result[l] = votes;
          break;
        case collective::any:
          result[l] = votes != 0;
          break;
        case collective::all:
          result[l] = votes == lanes;
          break;
        case collective::match_any:
          result[l] = 0;
          for (unsigned k = 0; k < 32; ++k) {
            if ((lanes >> k & 1U) != 0 && brought[k].value == mine.value) result[l] |= 1U << k;
          }
          break;
        case collective::reduce_add:
        case collective::reduce_min:
        case collective::reduce_max:
          result[l] = reduced(what, lanes);
          break;
      }
    }
    if (what == collective::syncwarp) order(lanes | gone);
    waiting &= ~lanes;
  }

 private:
  /// Values are 32-bit numbers that were widened, so signed ones compare as such and sums cannot overflow.
  std::uint64_t reduced(collective what, std::uint32_t lanes) const noexcept {
    auto all = static_cast<std::int64_t>(brought[static_cast<std::size_t>(std::countr_zero(lanes))].value);
    for (std::uint32_t left = lanes & (lanes - 1); left != 0; left &= left - 1) {
      auto const x = static_cast<std::int64_t>(brought[static_cast<std::size_t>(std::countr_zero(left))].value);
      if (what == collective::reduce_add) all += x;
      if (what == collective::reduce_min ? x < all : what == collective::reduce_max && x > all) all = x;
    }
    return static_cast<std::uint64_t>(all);
  }
};

}  // namespace cuda_on_cpu
