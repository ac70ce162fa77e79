// SPDX-License-Identifier: Apache-2.0
/// Scratch memory that starts on a cache line and holds nothing yet.
#pragma once

#include <cstddef>
#include <memory_resource>
#include <type_traits>
#include <utility>

namespace tightkv::detail {

/// An array of numbers with no values: clearing megabytes costs as much as filling them, and vectors that lie across
/// two cache lines are slow.
template <class T>
requires std::is_trivially_copyable_v<T>
class scratch {
 public:
  scratch(std::size_t size, std::pmr::memory_resource* memory) : size_(size), memory_(memory) {
    if (size > 0) data_ = static_cast<T*>(memory->allocate(size * sizeof(T), line));
  }
  scratch(scratch&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), memory_(other.memory_) {}
  scratch& operator=(scratch&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(memory_, other.memory_);
    return *this;
  }
  scratch(scratch const&) = delete;
  scratch& operator=(scratch const&) = delete;
  ~scratch() {
    if (data_ != nullptr) memory_->deallocate(data_, size_ * sizeof(T), line);
  }

  T* data() const noexcept { return data_; }
  T& operator[](std::size_t i) const noexcept { return data_[i]; }
  T* begin() const noexcept { return data_; }
  T* end() const noexcept { return data_ + size_; }
  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t line = 64;

  T* data_ = nullptr;
  std::size_t size_;
  std::pmr::memory_resource* memory_;
};

}  // namespace tightkv::detail
