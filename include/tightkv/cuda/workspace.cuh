// SPDX-License-Identifier: Apache-2.0
/// Device memory that the caller gives for scratch, scores and plans.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <tightkv/core/error.hpp>

namespace tightkv {

/// A caller's device memory, handed out piece by piece and taken back. Calls on one stream may share it: what is taken
/// back is used again only by what runs later on that stream. Neither copied nor moved, since executors point to it.
///
///     tightkv::workspace space(pointer, tightkv::workspace_bytes([&](tightkv::cuda const& ex) {
///       tightkv::decide(ex, method, view);
///     }));
///     tightkv::cuda const ex{stream, &space};
///
/// Throws `bad_argument` when it is too small, saying what was needed. `space.free()` must be all again, which it is
/// once the decisions and matrices made from it are gone, before it is destroyed.
class workspace {
 public:
  static constexpr std::size_t alignment = 256;

  workspace(void* data, std::size_t bytes) : data_(static_cast<std::byte*>(data)), bytes_(bytes) {
    detail::expects(data != nullptr || bytes == 0, "workspace", "data must not be null");
    detail::expects(reinterpret_cast<std::uintptr_t>(data) % alignment == 0, "workspace",
                    "data must be aligned to 256 bytes, as cudaMalloc aligns it");
  }
  workspace(workspace const&) = delete;
  workspace& operator=(workspace const&) = delete;

  void* take(std::size_t bytes) {
    std::size_t const needed = used_ + rounded(bytes);
    if (!measures_ && needed > bytes_) {
      detail::refuse("workspace", "too small: see workspace_bytes", {{"bytes", bytes_}, {"needed", needed}});
    }
    std::byte* const p = data_ + used_;
    used_ = needed;
    peak_ = std::max(peak_, used_);
    ++pieces_;
    return p;
  }

  /// Pieces may come back in any order; the memory of one that is not the last is free when all are back.
  void give_back(void* piece, std::size_t bytes) noexcept {
    auto const begin = static_cast<std::size_t>(static_cast<std::byte*>(piece) - data_);
    if (begin + rounded(bytes) == used_) used_ = begin;
    if (--pieces_ == 0) used_ = 0;
  }

  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t used() const noexcept { return used_; }
  /// The most that was ever in use.
  std::size_t peak() const noexcept { return peak_; }
  /// True where nothing is launched, and only the bytes that would be needed are counted.
  bool measures() const noexcept { return measures_; }

 protected:
  struct measuring {};
  explicit workspace(measuring) : data_(reinterpret_cast<std::byte*>(alignment)), measures_(true) {}

 private:
  static std::size_t rounded(std::size_t bytes) noexcept {
    return (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  }

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
  int pieces_ = 0;
  bool measures_ = false;
};

}  // namespace tightkv
