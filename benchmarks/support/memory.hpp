// SPDX-License-Identifier: Apache-2.0
/// Memory for benchmarks: huge pages, so that the rows are timed and not the page table, and random numbers that cost
/// a nanosecond each.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bench {

/// An array in huge pages where the system has them, touched before anything is timed.
template <class T>
class huge_array {
 public:
  explicit huge_array(std::size_t size) : size_(size) {
    constexpr std::size_t huge_page = 2U << 20U;
    std::size_t const bytes = (size * sizeof(T) + huge_page - 1) / huge_page * huge_page;
    void* const memory = std::aligned_alloc(huge_page, bytes);
    if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    data_ = static_cast<T*>(memory);
    for (std::size_t i = 0; i < size; ++i) data_[i] = T{};
  }
  huge_array(huge_array&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  huge_array(huge_array const&) = delete;
  huge_array& operator=(huge_array const&) = delete;
  ~huge_array() { std::free(data_); }

  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  std::size_t bytes() const noexcept { return size_ * sizeof(T); }
  T& operator[](std::size_t i) const noexcept { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

/// The i-th of a fixed sequence of random 64-bit numbers (splitmix64).
inline std::uint64_t random_bits(std::uint64_t i) noexcept {
  i = (i + 1) * 0x9e3779b97f4a7c15U;
  i = (i ^ (i >> 30U)) * 0xbf58476d1ce4e5b9U;
  i = (i ^ (i >> 27U)) * 0x94d049bb133111ebU;
  return i ^ (i >> 31U);
}

/// The i-th of a fixed sequence of nearly normal numbers, variance 1: four uniform ones added up.
inline float random_number(std::uint64_t i) noexcept {
  std::uint64_t const bits = random_bits(i);
  auto const sum = (bits & 0xffffU) + ((bits >> 16U) & 0xffffU) + ((bits >> 32U) & 0xffffU) + (bits >> 48U);
  return (static_cast<float>(sum) - 131070.0F) * (1.7320508F / 65536.0F);
}

}  // namespace bench
