#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [OPTION]...: builds the benchmarks, runs them all and prints one table: build/benchmarks/table.md. Options go to
# the benchmarks, e.g. --benchmark_repetitions=3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

examples/install.sh g++ cmake libbenchmark-dev libeigen3-dev nlohmann-json3-dev libcli11-dev python3
cmake --preset release
cmake --build --preset release --target benchmarks

out=build/benchmarks
mkdir -p "$out"
rm -f "$out"/*.json
for bench in build/release/bin/bench_*; do
  # Repetitions of all benchmarks are mixed, so that a change in the machine's mood touches a kernel and its floor alike.
  "$bench" --benchmark_repetitions=7 --benchmark_min_time=0.05 --benchmark_enable_random_interleaving=true \
    --benchmark_out="$out/${bench##*/bench_}.json" --benchmark_out_format=json "$@" >"$out/log.txt" 2>&1 ||
    { cat "$out/log.txt" >&2 && exit 1; }
done

{
  lscpu | sed -n 's/^Model name: */Processor: /p; s/^CPU(s): */Processors: /p'
  for cache in L1d L2 L3; do lscpu | sed -n "s/^$cache cache: */$cache: /p"; done
  echo "Load while it ran: $(cut -d' ' -f1-3 /proc/loadavg)"
  sed -n 's/^ *"\(architecture\|compiler\|tightkv\)": "\(.*\)",\?$/\1: \2/p' "$out/scorers.json"
  echo
  python3 benchmarks/support/table.py "$out"/*.json
} | tee "$out/table.md"
