#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [--families | --peers] [--rows PATTERN]... [--json] [OPTION]...
#
#   --families  each kernel beside its floor, and no peer; prints one table: build/benchmarks/table.md. Options go to
#               the benchmarks, e.g. --benchmark_repetitions=3
#   --peers     ours and PyTorch's in turns (eager, compiled, kvpress), installed into build/peers; prints medians,
#               spreads and ratios, and writes them into benchmarks/README.md
#   --rows P    only the peers' rows whose "OP, TYPE, TOKENS, THREADS" begins with P (* and ? match); others stay as
#               they were measured before
#   --warm      only compiles the peers' rows and compares the answers, so that a later run does nothing but measure
#   --wait S    seconds to wait for an idle machine, before each round (20)
#   --json      prints the peers' rows as JSON, and everything else to standard error
#
# Both, unless one is named; --rows, --warm, --wait and --json are about the peers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

families=yes peers=yes json=no
measure=() options=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --families) peers=no ;;
    --peers) families=no ;;
    --json) families=no json=yes ;;
    --warm) families=no measure+=(--check) ;;
    --rows | --wait)
      [[ $# -ge 2 ]] || { echo "run.sh: $1 needs a value" >&2 && exit 2; }
      families=no measure+=("$1" "$2")
      shift
      ;;
    -h | --help) sed -n '3,/^set/{/^set/d; s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" && exit 0 ;;
    *) options+=("$1") ;;
  esac
  shift
done
exec 3>&1
[[ $json == no ]] || exec >&2

out=build/benchmarks
mkdir -p "$out"
examples/install.sh g++ cmake libbenchmark-dev libeigen3-dev nlohmann-json3-dev libcli11-dev python3
cmake --preset release

run_families() {
  cmake --build --preset release --target benchmarks
  rm -f "$out"/*.json
  local bench
  for bench in build/release/bin/bench_*; do
    # Repetitions of all benchmarks are mixed, so that a change in the machine's mood touches a kernel and its floor alike.
    "$bench" --benchmark_repetitions=7 --benchmark_min_time=0.05 --benchmark_enable_random_interleaving=true \
      --benchmark_out="$out/${bench##*/bench_}.json" --benchmark_out_format=json "${options[@]}" >"$out/log.txt" 2>&1 ||
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
}

run_peers() {
  cmake --build --preset release --target peers_ours
  if [[ ! -e build/peers/ready ]]; then # gigabytes, mostly of a GPU's libraries that are not used here
    examples/install.sh python3-venv
    python3 -m venv build/peers
    build/peers/bin/pip install --quiet torch kvpress
    touch build/peers/ready
  fi
  mkdir -p "$out/peers"
  TORCHINDUCTOR_CACHE_DIR="$PWD/$out/peers/compiled" build/peers/bin/python benchmarks/peers/measure.py \
    --library build/release/bin/libpeers_ours.so --results "$out/peers/rows.json" "${measure[@]}"
  [[ -e $out/peers/rows.json ]] || return 0 # --warm
  build/peers/bin/python benchmarks/peers/report.py "$out/peers/rows.json" --readme benchmarks/README.md
  if [[ $json == yes ]]; then
    build/peers/bin/python benchmarks/peers/report.py "$out/peers/rows.json" --json >&3
  else
    build/peers/bin/python benchmarks/peers/report.py "$out/peers/rows.json"
  fi
}

[[ $families == no ]] || run_families
[[ $peers == no ]] || run_peers
