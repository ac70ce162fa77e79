// SPDX-License-Identifier: Apache-2.0
/// What every benchmark says about itself.
#pragma once

#include <string>

#include <benchmark/benchmark.h>

#include <tightkv/core/half.hpp>

namespace bench {

/// Refuses to time a wrong answer.
inline void require(benchmark::State& state, bool right, char const* what) {
  if (!right) state.SkipWithError(what);
}

/// For putting inputs back in order.
template <class F>
void untimed(benchmark::State& state, F&& f) {
  state.PauseTiming();
  f();
  state.ResumeTiming();
}

/// `bytes` must move in each iteration, however it is done: what is moved beyond them shows as a lower figure. `floor`
/// is the benchmark of the same shape which does only that.
inline void report(benchmark::State& state, double bytes, double tokens, std::string const& floor = {}) {
  using benchmark::Counter;
  state.counters["floor_bytes"] = bytes;
  state.counters["bytes_per_second"] = Counter(bytes, Counter::kIsIterationInvariantRate, Counter::kIs1024);
  state.counters["tokens/s"] = Counter(tokens, Counter::kIsIterationInvariantRate);
  if (!floor.empty()) state.SetLabel("floor=" + floor);
}

/// The same for what is bound by arithmetic: `flops` are those of the products alone.
inline void report_flops(benchmark::State& state, double flops) {
  using benchmark::Counter;
  state.counters["flops"] = Counter(flops, Counter::kIsIterationInvariantRate);
}

template <class T>
inline constexpr char const* name_of = "float";
template <>
inline constexpr char const* name_of<tightkv::half> = "half";
template <>
inline constexpr char const* name_of<tightkv::bfloat16> = "bfloat16";

}  // namespace bench
