// SPDX-License-Identifier: Apache-2.0
/// `main` of all benchmarks: names what the numbers depend on.
#include <benchmark/benchmark.h>

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("architecture", BENCH_ARCHITECTURE);
  benchmark::AddCustomContext("compiler", BENCH_COMPILER);
  benchmark::AddCustomContext("tightkv", BENCH_TIGHTKV_VERSION);
  benchmark::RunSpecifiedBenchmarks();
}
