// SPDX-License-Identifier: Apache-2.0
/// Replaces `operator new` by one that counts. Include it in one file of a program.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include <fuzz/support.hpp>

namespace fuzz {

// Refuses what no honest input asks for, before the machine has to: the caller sees a `bad_alloc`, which is a
// violation.
inline void* counted(std::size_t size) noexcept {
  constexpr std::size_t most = std::size_t{1} << 30;
  if (size > most) return nullptr;
  allocated += size;
  return std::malloc(size == 0 ? 1 : size);
}
inline void* counted_or_throw(std::size_t size) {
  auto* const p = counted(size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace fuzz

void* operator new(std::size_t size) { return fuzz::counted_or_throw(size); }
void* operator new[](std::size_t size) { return fuzz::counted_or_throw(size); }
void* operator new(std::size_t size, std::nothrow_t const&) noexcept { return fuzz::counted(size); }
void* operator new[](std::size_t size, std::nothrow_t const&) noexcept { return fuzz::counted(size); }
// Not inlined, or GCC sees memory from `operator new` given to `free` and takes it for a mistake.
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::nothrow_t const&) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::nothrow_t const&) noexcept { std::free(p); }
