// SPDX-License-Identifier: Apache-2.0
/// The shared memory of a block, and who touched which byte of it since when.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <cuda_on_cpu/warp.hpp>

namespace cuda_on_cpu {

/// What is wrong with an access, and with which other thread it collides.
struct hazard {
  char const* what = nullptr;
  unsigned other = 0;
};

enum class access { load, store, atomic };

class shared_memory {
 public:
  /// Where one variable lies: the dynamic part, or one static array.
  struct range {
    std::uint32_t offset = 0, bytes = 0;
  };

  /// A fresh block: its memory holds garbage.
  void begin_block(std::size_t dynamic_bytes, std::size_t garbage) {
    garbage_ = static_cast<int>(0xff - garbage);
    used_ = 0;
    ++block_;
    ++epoch_;
    dynamic_ = allocate(dynamic_bytes);
  }
  /// All threads have met: what came before is ordered before what comes.
  void next_epoch() noexcept { ++epoch_; }

  range allocate(std::size_t bytes) {
    range const r{used_, static_cast<std::uint32_t>(bytes)};
    used_ += static_cast<std::uint32_t>((bytes + 127) / 128 * 128);  // each variable begins at bank 0
    if (bytes_.size() < used_) bytes_.resize(used_);
    if (cells_.size() < used_ / 4) cells_.resize(used_ / 4);
    if (bytes > 0) std::memset(bytes_.data() + r.offset, garbage_, bytes);
    return r;
  }
  range dynamic() const noexcept { return dynamic_; }
  std::uint32_t serial() const noexcept { return block_; }
  std::byte* at(std::uint32_t offset) noexcept { return bytes_.data() + offset; }

  /// Notes an access of `size` bytes by `thread`, and says what is wrong with it.
  hazard touch(access kind, std::uint32_t offset, std::uint32_t size, unsigned thread, warp const& w) {
    hazard found;
    for (std::uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
      std::uint32_t const first = word * 4 < offset ? offset % 4 : 0;
      std::uint32_t const last = word * 4 + 4 > offset + size ? (offset + size) % 4 : 4;
      auto const part = static_cast<std::uint8_t>((1U << last) - (1U << first));
      hazard const here = touch(cells_[word], kind, part, thread, w);
      if (found.what == nullptr) found = here;
    }
    return found;
  }

 private:
  /// Four bytes. Last write and reads since the last barrier: enough to see each race in some order of the threads.
  struct cell {
    std::uint32_t block = 0;
    std::uint32_t write_epoch = 0, write_time = 0;
    std::uint32_t read_epoch = 0, read_time = 0;
    std::uint32_t readers = 0;  // lanes of warp read_warp
    std::uint16_t writer = 0, read_warp = 0;
    std::uint8_t initialised = 0, written = 0, read = 0;  // bytes
    bool atomic_write = false, read_by_several_warps = false;
  };

  hazard touch(cell& c, access kind, std::uint8_t part, unsigned thread, warp const& w) const {
    if (c.block != block_) c = {.block = block_};
    hazard found;
    if (kind != access::store && (c.initialised & part) != part)
      found = {"reads shared memory that nobody wrote", thread};
    if (c.write_epoch == epoch_ && (c.written & part) != 0 && !(kind == access::atomic && c.atomic_write) &&
        !before(c.writer, thread, c.write_time, w)) {
      found = {kind == access::load ? "reads shared memory that another thread wrote since the last barrier"
                                    : "writes shared memory that another thread wrote since the last barrier",
               c.writer};
    }
    if (kind == access::load) {
      note_reader(c, part, thread, w);
      return found;
    }
    if (c.read_epoch == epoch_ && (c.read & part) != 0) {
      unsigned other = c.read_warp * 32U + static_cast<unsigned>(std::countr_zero(c.readers));
      bool race = c.read_by_several_warps || c.read_warp != thread / 32;
      for (std::uint32_t left = c.readers; !race && left != 0; left &= left - 1) {
        other = c.read_warp * 32U + static_cast<unsigned>(std::countr_zero(left));
        race = !before(other, thread, c.read_time, w);
      }
      if (race) found = {"writes shared memory that another thread read since the last barrier", other};
    }
    bool const again = c.write_epoch == epoch_ && c.writer == thread && c.write_time == w.clock;
    c.written = static_cast<std::uint8_t>(again ? c.written | part : part);
    c.atomic_write = kind == access::atomic;
    c.writer = static_cast<std::uint16_t>(thread);
    c.write_epoch = epoch_;
    c.write_time = w.clock;
    c.initialised = static_cast<std::uint8_t>(c.initialised | part);
    return found;
  }

  /// What `other` did at `time` of this epoch is ordered before what `thread` of warp `w` does now.
  static bool before(unsigned other, unsigned thread, std::uint32_t time, warp const& w) {
    return other == thread || (other / 32 == thread / 32 && w.ordered(other % 32, thread % 32, time));
  }

  void note_reader(cell& c, std::uint8_t part, unsigned thread, warp const& w) const {
    std::uint32_t const lane = 1U << thread % 32;
    if (c.read_epoch != epoch_) {
      c.read_by_several_warps = false;
      c.read = part;
      c.readers = lane;
      c.read_warp = static_cast<std::uint16_t>(thread / 32);
    } else {
      c.read = static_cast<std::uint8_t>(c.read | part);
      if (c.read_warp != thread / 32) {
        c.read_by_several_warps = true;
      } else {
        bool all_before = c.read_time < w.clock;
        for (std::uint32_t left = c.readers; all_before && left != 0; left &= left - 1) {
          all_before = w.ordered(static_cast<unsigned>(std::countr_zero(left)), thread % 32, c.read_time);
        }
        c.readers = all_before ? lane : c.readers | lane;
      }
    }
    c.read_epoch = epoch_;
    if (c.read_warp == thread / 32) c.read_time = w.clock;
  }

  std::vector<std::byte> bytes_;
  std::vector<cell> cells_;
  range dynamic_;
  std::uint32_t used_ = 0;
  std::uint32_t block_ = 0, epoch_ = 0;  // unique numbers, also across launches
  int garbage_ = 0xff;
};

}  // namespace cuda_on_cpu
