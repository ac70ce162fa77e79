// SPDX-License-Identifier: Apache-2.0
/// Executors say where work runs and where its scratch memory comes from.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory_resource>
#include <utility>

#include <tightkv/core/error.hpp>
#include <tightkv/core/instruction_set.hpp>

namespace tightkv {

/// Memory spaces are types, so that a device view given to a CPU executor does not compile.
struct host_memory {};
struct device_memory {};

/// Where work runs: the memory it can reach, and where its scratch comes from.
template <class E>
concept executor = std::copy_constructible<E> && requires(E const& ex) {
  typename E::memory;
  ex.resource();
};

/// True of anything whose rows the executor can reach.
template <class P, class E>
concept reachable_from = std::same_as<typename P::memory, typename E::memory>;

/// Runs `f(0) ... f(n-1)` one after the other: the default, since the library starts no thread of its own accord.
struct serial {
  template <class F>
  void operator()(int n, F&& f) const {
    for (int i = 0; i < n; ++i) f(i);
  }
};

/// The specification: the plain kernels of ops/, which are readable before they are fast, on the owner's threads.
///
/// For checking and for teaching; `basic_cpu` gives the same results sooner.
template <class ForEachIndex = serial>
class basic_plain_cpu {
 public:
  using memory = host_memory;

  basic_plain_cpu() = default;
  explicit basic_plain_cpu(ForEachIndex for_each_index,
                           std::pmr::memory_resource* scratch = std::pmr::get_default_resource())
      : for_each_index_(std::move(for_each_index)), scratch_(scratch) {}

  template <class F>
  void for_each_index(int n, F&& f) const {
    for_each_index_(n, std::forward<F>(f));
  }
  std::pmr::memory_resource* resource() const noexcept { return scratch_; }

 private:
  ForEachIndex for_each_index_{};
  std::pmr::memory_resource* scratch_ = std::pmr::get_default_resource();
};

inline namespace TIGHTKV_KERNELS_FOR {

/// The calling thread, or the owner's threads, and the fastest kernels for the machine.
///
///     auto const ex = tightkv::cpu{};                                     // serial
///     auto const ex = tightkv::basic_cpu{tightkv::on_pool{pool}};         // a tightkv::thread_pool's threads
///     auto const ex = tightkv::basic_cpu{[&](int n, auto&& f) { engine.parallel_for(n, f); }, &arena};
///
/// `for_each_index(n, f)` calls `f(i)` once for each i in [0, n), in any order, and returns when all are done; results
/// do not depend on the order. Scratch comes from `resource()`, also while `f` runs: where `f` runs on several threads
/// it must be one that several threads can use at once, as the default is.
///
/// It is a plain executor as well: where the plain kernel will do, the fast one runs it.
template <class ForEachIndex = serial>
class basic_cpu : public basic_plain_cpu<ForEachIndex> {
 public:
  basic_cpu() = default;
  explicit basic_cpu(ForEachIndex for_each_index, std::pmr::memory_resource* scratch = std::pmr::get_default_resource())
      : basic_plain_cpu<ForEachIndex>(std::move(for_each_index), scratch) {}

  /// The instruction set whose kernels run: the best of the machine.
  instruction_set instructions() const noexcept { return instructions_; }

  /// The same, held to another instruction set: for comparisons. Throws `bad_argument` if it does not run here.
  basic_cpu with(instruction_set set) const {
    detail::expects(runs(set), "cpu", "the instruction set must be one that runs here", "set", static_cast<int>(set));
    basic_cpu limited = *this;
    limited.instructions_ = set;
    return limited;
  }

 private:
  instruction_set instructions_ = best_instruction_set();
};

using cpu = basic_cpu<>;

}  // namespace TIGHTKV_KERNELS_FOR

using plain_cpu = basic_plain_cpu<>;

static_assert(executor<cpu> && executor<plain_cpu>);

}  // namespace tightkv
