// SPDX-License-Identifier: Apache-2.0
/// One block at a time: runs its threads as fibers, in an order of the seed's choosing, and meets them at barriers.
#pragma once

#include <bit>
#include <cstdint>
#include <exception>
#include <memory>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include <cuda_on_cpu/fiber.hpp>
#include <cuda_on_cpu/settings.hpp>
#include <cuda_on_cpu/shared_memory.hpp>
#include <cuda_on_cpu/traffic.hpp>
#include <cuda_on_cpu/types.hpp>
#include <cuda_on_cpu/warp.hpp>

namespace cuda_on_cpu {

/// What a launch is given.
struct launch_shape {
  dim3 grid{}, block{};
  std::size_t shared_bytes = 0;
};

/// The block that runs on this OS thread.
class block {
 public:
  static constexpr unsigned most_threads = 1024;

  /// The calling OS thread's block; its stacks are reused from launch to launch.
  static block& current() {
    static thread_local block b;
    return b;
  }
  bool running() const noexcept { return body_ != nullptr; }

  /// Runs one block of a kernel: `body(argument)` is what each thread does. Throws `kernel_error`.
  void run(char const* kernel, launch_shape const& shape, uint3 index, random_order order, void (*body)(void const*),
           void const* argument) {
    kernel_ = kernel;
    order_ = order;
    body_ = body;
    argument_ = argument;
    count_ = shape.block.x * shape.block.y * shape.block.z;
    blockIdx = index;
    blockDim = shape.block;
    gridDim = shape.grid;
    failure_.clear();
    thrown_ = nullptr;
    finished_ = at_barrier_ = votes_ = 0;
    shared_.begin_block(shape.shared_bytes, order_.below(256));
    warps_.assign((count_ + 31) / 32, warp{});
    if (count_ % 32 != 0) warps_.back().gone = ~0U << count_ % 32;
    threads_.resize(most_threads);
    ready_.clear();
    for (unsigned t = 0; t < count_; ++t) {
      threads_[t].where = {};
      threads_[t].state = waits_for::its_turn;
      threads_[t].self.prepare(stacks().bottom(t), stack_pool::size, &begin_thread);
      ready_.push_back(count_ - 1 - t);
    }
    scheduler_.switch_to(next());  // and back when nobody can go on
    if (finished_ < count_ && failure_.empty() && !thrown_) report_deadlock();
    traffic().end_block();
    body_ = nullptr;
    if (thrown_) std::rethrow_exception(thrown_);
    if (!failure_.empty()) throw kernel_error(failure_);
  }

  // What threads call.

  /// Waits for the whole block; returns how many threads gave a true predicate.
  unsigned barrier(bool predicate, place where) {
    auto& me = threads_[current_];
    me.state = waits_for::block;
    me.where = where;
    if (at_barrier_ == 0) barrier_ = where;
    if (!(barrier_ == where)) fail("threads of a block wait at two different barriers: ", barrier_, " and ", where);
    votes_ += predicate ? 1 : 0;
    if (++at_barrier_ == count_) {
      last_votes_ = votes_;
      at_barrier_ = votes_ = 0;
      shared_.next_epoch();
      traffic().barrier();
      for (unsigned t = 0; t < count_; ++t) make_ready(t);
    }
    stop();
    return last_votes_;
  }

  /// Takes part in a collective of the lanes in `c.mask`.
  std::uint64_t meet(contribution const& c) {
    auto& w = my_warp();
    unsigned const lane = current_ % 32;
    if ((c.mask >> lane & 1U) == 0) fail(name_of(c.what), " with mask ", hex{c.mask}, " lacks the calling lane ", lane);
    std::uint32_t const absent = w.gone & c.mask;
    if (c.what == collective::shuffle && (c.mask >> c.source & 1U) == 0) {
      fail(name_of(c.what), " reads lane ", c.source, ", which mask ", hex{c.mask}, " does not name");
    }
    if (c.what == collective::shuffle && (absent >> c.source & 1U) != 0) {
      fail(name_of(c.what), " reads lane ", c.source, ", which has left the kernel");
    }
    for (std::uint32_t left = w.agree(c) ? 0 : w.waiting & c.mask; left != 0; left &= left - 1) {
      auto const l = static_cast<std::size_t>(std::countr_zero(left));
      auto const& other = w.brought[l];
      if ((other.mask >> lane & 1U) != 0 && (other.mask != c.mask || other.what != c.what)) {
        fail("lanes of a warp that wait for each other do not agree: lane ", lane, " calls ", name_of(c.what),
             " with mask ", hex{c.mask}, " at ", c.where, ", lane ", l, " calls ", name_of(other.what), " with mask ",
             hex{other.mask}, " at ", other.where);
      }
    }
    w.brought[lane] = c;
    w.waiting |= 1U << lane;
    threads_[current_].state = waits_for::warp;
    threads_[current_].where = c.where;
    complete(current_ / 32, c.mask);
    stop();
    return w.result[lane];
  }

  /// Lets others run first, now and then: called at accesses, so that races show.
  void maybe_interrupt() {
    if (order_.shuffled() && order_.below(32) == 0) interrupt();
  }
  void interrupt() {
    make_ready(current_);
    switch_out();
  }

  /// Ends the kernel with a message. Nothing is unwound: device code has no destructors that matter.
  template <class... Parts>
  [[noreturn]] void fail(Parts const&... what) {
    describe(current_, what...);
    leave();
  }

  unsigned thread() const noexcept { return current_; }
  warp& my_warp() noexcept { return warps_[current_ / 32]; }
  shared_memory& shared() noexcept { return shared_; }
  /// Changes whenever the thread has met others: two accesses with the same number lie between the same meetings.
  unsigned interval() const noexcept { return threads_[current_].interval; }

 private:
  enum class waits_for { its_turn, block, warp, nothing };
  struct thread_state {
    fiber self;
    waits_for state;
    unsigned interval;
    place where;  // it waits
  };

  static stack_pool& stacks() {
    static thread_local stack_pool pool(most_threads);
    return pool;
  }
  // Part of a message. It owns nothing, since the stack that it lies on is never unwound.
  struct hex {
    std::uint32_t mask;
    friend std::ostream& operator<<(std::ostream& out, hex const& h) {
      return out << "0x" << std::hex << h.mask << std::dec;
    }
  };

  static void begin_thread() {
    auto& b = current();
    fiber::arrive(b.scheduler_);
    b.threads_[b.current_].interval = 0;
    try {
      b.body_(b.argument_);
    } catch (...) {
      b.thrown_ = std::current_exception();
    }
    b.end_thread();
  }
  [[noreturn]] void end_thread() {
    threads_[current_].state = waits_for::nothing;
    ++finished_;
    auto& w = my_warp();
    w.gone |= 1U << current_ % 32;
    for (std::uint32_t left = w.waiting; left != 0; left &= left - 1) {  // who waited only for this lane goes on
      auto const l = static_cast<std::size_t>(std::countr_zero(left));
      auto const& c = w.brought[l];
      if ((w.waiting >> l & 1U) == 0) continue;
      if (c.what == collective::shuffle && (w.gone >> c.source & 1U) != 0) {
        describe(static_cast<unsigned>(current_ / 32 * 32 + l), name_of(c.what), " at ", c.where, " reads lane ",
                 c.source, ", which has left the kernel");
        break;
      }
      complete(current_ / 32, c.mask);
    }
    leave();
  }

  void complete(unsigned which, std::uint32_t mask) {
    auto& w = warps_[which];
    if (!w.complete(mask)) return;
    w.finish(mask);
    for (std::uint32_t lanes = mask & ~w.gone; lanes != 0; lanes &= lanes - 1) {
      make_ready(which * 32 + static_cast<unsigned>(std::countr_zero(lanes)));
    }
  }
  void make_ready(unsigned t) {
    threads_[t].state = waits_for::its_turn;
    ready_.push_back(t);
  }
  /// Who runs next; the scheduler, where nobody can or should.
  fiber& next() {
    if (ready_.empty() || !failure_.empty() || thrown_) return scheduler_;
    auto const pick = ready_.size() - 1 - order_.below(ready_.size());
    current_ = ready_[pick];
    ready_[pick] = ready_.back();
    ready_.pop_back();
    threadIdx = {current_ % blockDim.x, current_ / blockDim.x % blockDim.y, current_ / blockDim.x / blockDim.y};
    return threads_[current_].self;
  }
  void switch_out() {
    fiber& me = threads_[current_].self;
    fiber& other = next();
    if (&other != &me) me.switch_to(other);
  }
  [[noreturn]] void leave() {
    fiber& me = threads_[current_].self;
    me.abandon_for(next());
  }
  void stop() {
    switch_out();
    ++threads_[current_].interval;
  }

  template <class... Parts>
  void describe(unsigned t, Parts const&... what) {
    std::ostringstream out;
    out << kernel_ << ": block (" << blockIdx.x << ", " << blockIdx.y << ", " << blockIdx.z << ") thread ("
        << t % blockDim.x << ", " << t / blockDim.x % blockDim.y << ", " << t / blockDim.x / blockDim.y << "): ";
    (out << ... << what);
    out << " [seed " << settings().seed << "]";
    failure_ = out.str();
  }
  void report_deadlock() {
    for (unsigned t = 0; t < count_; ++t) {
      auto const& it = threads_[t];
      if (it.state == waits_for::warp) {
        auto const& w = warps_[t / 32];
        auto const mask = w.brought[t % 32].mask;
        auto const missing = static_cast<unsigned>(std::countr_zero(mask & ~w.gone & ~w.waiting));
        if (missing == 32) continue;  // waits for lanes that wait elsewhere; one of those says more
        auto const& other = threads_[t / 32 * 32 + missing];
        return describe(t, "waits in ", name_of(w.brought[t % 32].what), " with mask ", hex{mask}, " at ", it.where,
                        " for lane ", missing, ", which waits at the barrier at ", other.where);
      }
    }
    for (unsigned t = 0; t < count_; ++t) {
      if (threads_[t].state != waits_for::block) continue;
      return describe(t, "waits at the barrier at ", threads_[t].where, " for ", count_ - at_barrier_,
                      " threads that never come, ", finished_, " of which have left the kernel");
    }
    describe(0, "lanes of a warp wait for each other with different masks");
  }

  char const* kernel_ = "";
  random_order order_{0};
  void (*body_)(void const*) = nullptr;
  void const* argument_ = nullptr;
  unsigned count_ = 0, current_ = 0;
  unsigned finished_ = 0, at_barrier_ = 0, votes_ = 0, last_votes_ = 0;
  place barrier_{};
  fiber scheduler_;
  std::vector<thread_state> threads_;
  std::vector<warp> warps_;
  std::vector<unsigned> ready_;  // threads that can run
  shared_memory shared_;
  std::string failure_;
  std::exception_ptr thrown_;
};

}  // namespace cuda_on_cpu
