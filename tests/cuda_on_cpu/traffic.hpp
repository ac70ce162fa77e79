// SPDX-License-Identifier: Apache-2.0
/// Counts what kernels move: bytes and 32-byte sectors of global memory, wavefronts of shared memory, barriers,
/// launches.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cuda_on_cpu {

/// Requests that warps made: one load or store instruction of one warp is one request.
struct global_counts {
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;    // distinct ones within each request
  std::uint64_t sectors = 0;  // of 32 bytes
  double efficiency() const noexcept {
    return sectors == 0 ? 1 : static_cast<double>(bytes) / (32 * static_cast<double>(sectors));
  }
  global_counts& operator+=(global_counts const& o) noexcept {
    requests += o.requests;
    bytes += o.bytes;
    sectors += o.sectors;
    return *this;
  }
};

struct shared_counts {
  std::uint64_t requests = 0;
  std::uint64_t wavefronts = 0;  // what bank conflicts made of them; without any, 1, 2 or 4 for 4, 8 or 16 bytes a lane
  std::uint64_t ideal = 0;       // wavefronts without conflicts
  unsigned worst_conflict = 1;   // ways
};

struct traffic_counts {
  global_counts loads, stores;
  shared_counts shared;
  std::uint64_t launches = 0, barriers = 0;
};

/// Counts while it lives, for the launches of this OS thread.
///
///     cuda_on_cpu::traffic_counter counter;
///     counter.watch("keys", keys.data(), bytes);   // also count what goes to this memory on its own
///     ...launch...
///     counter.total().loads.bytes, counter.of("keys").loads.efficiency(), counter.kernels()["row_norms"].barriers
class traffic_counter {
 public:
  inline traffic_counter();
  traffic_counter(traffic_counter const&) = delete;
  traffic_counter& operator=(traffic_counter const&) = delete;
  inline ~traffic_counter();

  void watch(std::string const& name, void const* begin, std::size_t bytes) {
    auto const b = reinterpret_cast<std::uintptr_t>(begin);
    watched_.push_back({b, b + bytes, name});
  }
  traffic_counts const& total() const noexcept { return total_; }
  traffic_counts const& of(std::string const& name) { return regions_[name]; }
  std::map<std::string, traffic_counts>& kernels() noexcept { return kernels_; }

 private:
  friend class traffic_recorder;
  struct region {
    std::uintptr_t begin, end;
    std::string name;
  };
  traffic_counter* before_;  // counts again afterwards
  std::vector<region> watched_;
  traffic_counts total_;
  std::map<std::string, traffic_counts> regions_, kernels_;
};

/// Puts the accesses of the lanes of a warp together again. Lanes run one after the other; the n-th access of each at
/// one place of the code, between two meetings of the warp, is taken to be one instruction.
class traffic_recorder {
 public:
  enum class space : std::uint8_t { global_load, global_store, shared };

  bool counting() const noexcept { return counter_ != nullptr; }
  void begin_launch(char const* kernel) {
    if (!counting()) return;
    kernel_ = &counter_->kernels_[kernel];
    each(kernel_, [](traffic_counts& c) { ++c.launches; });
  }
  void barrier() {
    if (counting()) each(kernel_, [](traffic_counts& c) { ++c.barriers; });
  }
  void record(space s, void const* place, unsigned thread, unsigned interval, std::uintptr_t address, unsigned bytes) {
    auto& n = seen_[{place, thread, static_cast<unsigned>(s)}];
    if (n.interval != interval + 1) n = {interval + 1, 0};
    key const k{place, thread / 32, interval, n.count++, s};
    auto& r = open_[k];
    r.lanes |= 1U << thread % 32;
    r.address[thread % 32] = address;
    r.bytes[thread % 32] = bytes;
    if (r.lanes != 0xffffffffU) return;
    close(s, r);
    open_.erase(k);
  }
  void end_block() {
    for (auto& [k, r] : open_) close(k.where, r);
    open_.clear();
    seen_.clear();
  }

 private:
  friend class traffic_counter;
  struct key {
    void const* place;
    unsigned warp, interval, count;
    space where;
    friend bool operator==(key const&, key const&) = default;
  };
  struct lane_key {
    void const* place;
    unsigned thread, where;
    friend bool operator==(lane_key const&, lane_key const&) = default;
  };
  struct mix {
    static std::size_t of(std::size_t a, std::size_t b) noexcept {
      return (a ^ (b + 0x9e3779b97f4a7c15U)) * 0xff51afd7ed558ccdU;
    }
    std::size_t operator()(key const& k) const noexcept {
      return of(of(reinterpret_cast<std::uintptr_t>(k.place) + static_cast<std::size_t>(k.where), k.warp),
                std::size_t{k.interval} << 32 | k.count) >>
             7;
    }
    std::size_t operator()(lane_key const& k) const noexcept {
      return of(reinterpret_cast<std::uintptr_t>(k.place), std::size_t{k.where} << 32 | k.thread) >> 7;
    }
  };
  struct request {
    std::uint32_t lanes = 0;
    std::array<std::uintptr_t, 32> address;
    std::array<unsigned, 32> bytes{};  // 0 for a lane that did not take part
  };
  struct occurrence {
    unsigned interval = 0, count = 0;
  };

  template <class F>
  void each(traffic_counts* kernel, F f) {
    f(counter_->total_);
    f(*kernel);
  }
  void close(space s, request& r) {
    if (s == space::shared) {
      close_shared(r);
      return;
    }
    global_counts c{.requests = 1};
    std::array<std::pair<std::uintptr_t, std::uintptr_t>, 32> spans;
    std::ptrdiff_t lanes = 0;
    for (std::size_t l = 0; l < 32; ++l) {
      if (r.bytes[l] != 0) spans[static_cast<std::size_t>(lanes++)] = {r.address[l], r.address[l] + r.bytes[l]};
    }
    std::sort(spans.begin(), spans.begin() + lanes);
    std::uintptr_t end = 0, sector_end = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(lanes); ++i) {
      auto const [from, to] = spans[i];
      if (to > end) c.bytes += to - std::max(from, end);
      end = std::max(end, to);
      auto const last = (to + 31) / 32;
      if (last > sector_end) c.sectors += last - std::max(from / 32, sector_end);
      sector_end = std::max(sector_end, last);
    }
    auto const add = [&](traffic_counts& t) { (s == space::global_load ? t.loads : t.stores) += c; };
    each(kernel_, add);
    for (auto const& w : counter_->watched_) {
      if (spans[0].first >= w.begin && spans[0].first < w.end) {
        add(counter_->regions_[w.name]);
        break;
      }
    }
  }
  /// 32 banks of 4 bytes; lanes that want the same word share it. 8 and 16 bytes go in two and four parts of the warp.
  void close_shared(request const& r) {
    unsigned const widest = *std::max_element(r.bytes.begin(), r.bytes.end());
    unsigned const parts = widest <= 4 ? 1 : widest / 4, lanes_a_part = 32 / parts;
    unsigned waves = 0, ideal = 0, worst = 1;
    for (unsigned first = 0; first < 32; first += lanes_a_part) {
      std::array<std::vector<std::uintptr_t>, 32> words;
      unsigned ways = 0;
      for (unsigned i = first; i < first + lanes_a_part; ++i) {
        if (r.bytes[i] == 0) continue;
        for (auto w = r.address[i] / 4; w <= (r.address[i] + r.bytes[i] - 1) / 4; ++w) {
          auto& bank = words[w % 32];
          if (std::find(bank.begin(), bank.end(), w) == bank.end()) bank.push_back(w);
          ways = std::max(ways, static_cast<unsigned>(bank.size()));
        }
      }
      waves += ways;
      ideal += ways > 0;
      worst = std::max(worst, ways);
    }
    each(kernel_, [&](traffic_counts& t) {
      ++t.shared.requests;
      t.shared.wavefronts += waves;
      t.shared.ideal += ideal;
      t.shared.worst_conflict = std::max(t.shared.worst_conflict, worst);
    });
  }

  traffic_counter* counter_ = nullptr;
  traffic_counts* kernel_ = nullptr;
  std::unordered_map<key, request, mix> open_;
  std::unordered_map<lane_key, occurrence, mix> seen_;
};

inline traffic_recorder& traffic() {
  static thread_local traffic_recorder r;
  return r;
}
inline traffic_counter::traffic_counter() : before_(std::exchange(traffic().counter_, this)) {}
inline traffic_counter::~traffic_counter() { traffic().counter_ = before_; }

}  // namespace cuda_on_cpu
