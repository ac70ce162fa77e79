// SPDX-License-Identifier: Apache-2.0
/// Fibers: call stacks that take turns on one thread of the CPU. Each CUDA thread of a block is one.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CUDA_ON_CPU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDA_ON_CPU_ASAN 1
#endif
#endif
#if defined(CUDA_ON_CPU_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a function must preserve on the stack, the stack pointer in *save, and goes on with the
// stack `load`. Weak, so that several files may include this header.
#if defined(__x86_64__)
asm(R"(
  .pushsection .text
  .weak cuda_on_cpu_switch_stacks
  .type cuda_on_cpu_switch_stacks, @function
cuda_on_cpu_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size cuda_on_cpu_switch_stacks, . - cuda_on_cpu_switch_stacks
  .popsection
)");
extern "C" void cuda_on_cpu_switch_stacks(void** save, void* load);
#elif defined(__aarch64__)
asm(R"(
  .pushsection .text
  .weak cuda_on_cpu_switch_stacks
  .type cuda_on_cpu_switch_stacks, %function
cuda_on_cpu_switch_stacks:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size cuda_on_cpu_switch_stacks, . - cuda_on_cpu_switch_stacks
  .popsection
)");
extern "C" void cuda_on_cpu_switch_stacks(void** save, void* load);
#endif

namespace cuda_on_cpu {

/// Memory for `count` stacks, each above a page that must not be touched: an overflow stops the program at once.
class stack_pool {
 public:
#if defined(CUDA_ON_CPU_ASAN)
  static constexpr std::size_t size = std::size_t{256} << 10;
#else
  static constexpr std::size_t size = std::size_t{64} << 10;
#endif

  explicit stack_pool(std::size_t count) : bytes_(count * size) {
    void* const memory =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<std::byte*>(memory);
    auto const page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    for (std::size_t i = 0; i < count; ++i) mprotect(base_ + i * size, page, PROT_NONE);
  }
  stack_pool(stack_pool const&) = delete;
  stack_pool& operator=(stack_pool const&) = delete;
  ~stack_pool() { munmap(base_, bytes_); }

  std::byte* bottom(std::size_t i) const noexcept { return base_ + i * size; }

 private:
  std::size_t bytes_;
  std::byte* base_;
};

/// One stack and where its code will go on.
class fiber {
 public:
  /// The fiber will begin with `entry()`, which must not return.
  void prepare(std::byte* bottom, std::size_t size, void (*entry)()) {
    bottom_ = bottom;
    size_ = size;
    fake_stack_ = nullptr;
#if defined(CUDA_ON_CPU_ASAN)
    __asan_unpoison_memory_region(bottom, size);  // what an abandoned fiber left
#endif
    // Tops of stacks that differ by a power of two would all live in the same few lines of the cache.
    auto const stagger = reinterpret_cast<std::uintptr_t>(bottom) / size % 61 * 64;
    auto* const top = reinterpret_cast<void**>(bottom + size - stagger);
#if defined(__x86_64__)
    for (int i = 1; i <= 8; ++i) top[-i] = nullptr;  // [-1] stands for a return address, [-8 .. -3] for registers
    top[-2] = reinterpret_cast<void*>(entry);
    pointer_ = top - 8;
#elif defined(__aarch64__)
    for (int i = 1; i <= 20; ++i) top[-i] = nullptr;
    top[-20 + 11] = reinterpret_cast<void*>(entry);  // x30, the link register
    pointer_ = top - 20;
#else
    getcontext(&context_);
    context_.uc_stack.ss_sp = bottom;
    context_.uc_stack.ss_size = size;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#endif
  }

  /// Goes on with `to`; returns when somebody switches back here.
  void switch_to(fiber& to) { leave(to, &fake_stack_); }
  /// Goes on with `to` for good.
  [[noreturn]] void abandon_for(fiber& to) {
    leave(to, nullptr);
    __builtin_unreachable();
  }
  /// The first thing that `entry` does. `origin` is the stack that the first fiber was switched to from, whose bounds
  /// nobody else knows.
  static void arrive([[maybe_unused]] fiber& origin) {
#if defined(CUDA_ON_CPU_ASAN)
    void const* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (origin.bottom_ != nullptr) return;
    origin.bottom_ = static_cast<std::byte*>(const_cast<void*>(bottom));
    origin.size_ = size;
#endif
  }

 private:
  void leave(fiber& to, [[maybe_unused]] void** fake_stack) {
#if defined(CUDA_ON_CPU_ASAN)
    __sanitizer_start_switch_fiber(fake_stack, to.bottom_, to.size_);
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    cuda_on_cpu_switch_stacks(&pointer_, to.pointer_);
#else
    swapcontext(&context_, &to.context_);
#endif
#if defined(CUDA_ON_CPU_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
  }

  std::byte* bottom_ = nullptr;
  std::size_t size_ = 0;
  void* fake_stack_ = nullptr;
#if defined(__x86_64__) || defined(__aarch64__)
  void* pointer_ = nullptr;
#else
  ucontext_t context_{};
#endif
};

}  // namespace cuda_on_cpu
