// SPDX-License-Identifier: Apache-2.0
/// Accesses that the emulator watches. Kernels announce those to global memory; shared memory announces its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cuda_on_cpu/block.hpp>

namespace cuda_on_cpu {

namespace detail {

[[gnu::noinline]] inline void watch_global(bool load, void const* p, std::size_t bytes) {
  auto& b = block::current();
  auto const address = reinterpret_cast<std::uintptr_t>(p);
  char const* const verb = load ? "loads" : "stores";
  if (address % bytes != 0) b.fail(verb, ' ', bytes, " bytes at ", p, ", which is not aligned to them");
#if defined(CUDA_ON_CPU_ASAN)
  if (__asan_region_is_poisoned(const_cast<void*>(p), bytes) != nullptr) {
    b.fail(verb, ' ', bytes, " bytes at ", p, ", outside of any allocation");
  }
#endif
  if (traffic().counting()) {
    traffic().record(load ? traffic_recorder::space::global_load : traffic_recorder::space::global_store,
                     __builtin_return_address(0), b.thread(), b.interval(), address, static_cast<unsigned>(bytes));
  }
  b.maybe_interrupt();
}

[[gnu::noinline]] inline std::byte* watch_shared(access kind, shared_memory::range in, std::ptrdiff_t at,
                                                 std::size_t bytes) {
  auto& b = block::current();
  if (at < 0 || at + static_cast<std::ptrdiff_t>(bytes) > static_cast<std::ptrdiff_t>(in.bytes)) {
    b.fail("accesses shared memory out of bounds: byte ", at, " of ", in.bytes);
  }
  auto const offset = in.offset + static_cast<std::uint32_t>(at);
  auto const size = static_cast<std::uint32_t>(bytes);
  if (bytes <= 16 && (bytes & (bytes - 1)) == 0 && offset % size != 0) {
    b.fail("accesses ", bytes, " bytes of shared memory at offset ", at, ", which is not aligned to them");
  }
  b.maybe_interrupt();
  hazard const h = b.shared().touch(kind, offset, size, b.thread(), b.my_warp());
  if (h.what != nullptr && settings().report_races) {
    if (h.other == b.thread()) b.fail(h.what, ": byte ", at);
    b.fail(h.what, ": byte ", at, ", thread ", h.other);
  }
  if (traffic().counting()) {
    traffic().record(traffic_recorder::space::shared, __builtin_return_address(0), b.thread(), b.interval(), offset,
                     size);
  }
  return b.shared().at(offset);
}

}  // namespace detail

/// To be called before a kernel loads or stores `bytes` (1, 2, 4, 8 or 16) of global memory: checks, counts. Where it
/// is inlined to is where the access is.
[[gnu::always_inline]] inline void on_load(void const* p, std::size_t bytes) { detail::watch_global(true, p, bytes); }
[[gnu::always_inline]] inline void on_store(void const* p, std::size_t bytes) { detail::watch_global(false, p, bytes); }

template <class T>
class shared_reference;

/// A pointer into shared memory that knows its bounds. Behaves as T* would; in generic code call it `auto`.
template <class T>
class shared_pointer {
 public:
  shared_pointer() = default;
  explicit shared_pointer(shared_memory::range in, std::ptrdiff_t at = 0) : in_(in), at_(at) {}

  shared_reference<T> operator*() const { return shared_reference<T>(*this); }
  shared_reference<T> operator[](std::ptrdiff_t i) const { return *(*this + i); }
  shared_pointer operator+(std::ptrdiff_t n) const {
    return shared_pointer(in_, at_ + n * static_cast<std::ptrdiff_t>(sizeof(T)));
  }
  shared_pointer operator-(std::ptrdiff_t n) const { return *this + -n; }
  shared_pointer& operator+=(std::ptrdiff_t n) { return *this = *this + n; }
  /// What reinterpret_cast<U*> would be.
  template <class U>
  shared_pointer<U> as() const {
    return shared_pointer<U>(in_, at_);
  }

  // With U, T's bytes as another type: vector loads and stores.
  template <class U = T>
  [[gnu::always_inline]] U load() const {
    U value;
    std::memcpy(&value, detail::watch_shared(access::load, in_, at_, sizeof(U)), sizeof(U));
    return value;
  }
  template <class U = T>
  [[gnu::always_inline]] void store(U const& value) const {
    std::memcpy(detail::watch_shared(access::store, in_, at_, sizeof(U)), &value, sizeof(U));
  }
  /// Replaces the value by f(value) atomically; returns the old one.
  template <class F>
  [[gnu::always_inline]] T update(F f) const {
    std::byte* const p = detail::watch_shared(access::atomic, in_, at_, sizeof(T));
    T old;
    std::memcpy(&old, p, sizeof(T));
    T const now = f(old);
    std::memcpy(p, &now, sizeof(T));
    return old;
  }

 private:
  shared_memory::range in_;
  std::ptrdiff_t at_ = 0;  // bytes
};

/// What `pointer[i]` gives: reads when converted to T, writes when assigned. Write `float const x = p[i]`, never
/// `auto`, which would read later; one that is used after the next barrier is an error.
template <class T>
class shared_reference {
 public:
  explicit shared_reference(shared_pointer<T> at) : at_(at), interval_(block::current().interval()) {}
  shared_reference(shared_reference const&) = default;

  [[gnu::always_inline]] operator T() const { return fresh().load(); }
  [[gnu::always_inline]] shared_reference& operator=(T const& value) {
    fresh().store(value);
    return *this;
  }
  [[gnu::always_inline]] shared_reference& operator=(shared_reference const& other) {
    return *this = static_cast<T>(other);
  }
  [[gnu::always_inline]] shared_reference& operator+=(T const& x) {
    return *this = static_cast<T>(static_cast<T>(*this) + x);
  }
  [[gnu::always_inline]] shared_reference& operator-=(T const& x) {
    return *this = static_cast<T>(static_cast<T>(*this) - x);
  }
  [[gnu::always_inline]] shared_reference& operator*=(T const& x) {
    return *this = static_cast<T>(static_cast<T>(*this) * x);
  }
  [[gnu::always_inline]] shared_reference& operator|=(T const& x) {
    return *this = static_cast<T>(static_cast<T>(*this) | x);
  }
  [[gnu::always_inline]] shared_reference& operator&=(T const& x) {
    return *this = static_cast<T>(static_cast<T>(*this) & x);
  }
  [[gnu::always_inline]] shared_reference& operator++() { return *this += T(1); }
  shared_pointer<T> operator&() const { return at_; }

 private:
  shared_pointer<T> const& fresh() const {
    auto& b = block::current();
    if (b.interval() != interval_) b.fail("uses a reference to shared memory that is older than a barrier");
    return at_;
  }
  shared_pointer<T> at_;
  unsigned interval_;
};

/// `__shared__ shared_array<float, 32> partial;`: an array of the block, garbage at first, tracked.
template <class T, std::size_t N>
class shared_array {
 public:
  shared_reference<T> operator[](std::size_t i) { return pointer()[static_cast<std::ptrdiff_t>(i)]; }
  operator shared_pointer<T>() { return pointer(); }
  shared_pointer<T> data() { return pointer(); }

 private:
  shared_pointer<T> pointer() {
    auto& memory = block::current().shared();
    if (serial_ != memory.serial()) {
      where_ = memory.allocate(N * sizeof(T));
      serial_ = memory.serial();
    }
    return shared_pointer<T>(where_);
  }
  std::uint32_t serial_ = 0;
  shared_memory::range where_;
};

/// The dynamic shared memory that the launch asked for, from byte `offset` on.
template <class T>
shared_pointer<T> dynamic_shared(std::size_t offset = 0) {
  return shared_pointer<T>(block::current().shared().dynamic(), static_cast<std::ptrdiff_t>(offset));
}

}  // namespace cuda_on_cpu
