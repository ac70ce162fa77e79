#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that needs a GPU, in one go: builds tests/cuda and the benchmarks for this machine's GPU, runs the tests,
# some of them under compute-sanitizer, then the benchmarks and the PyTorch peer.
#
#     OUT=results benchmarks/cuda/on_device.sh
#
# Needs: nvcc 12.1 or later and a C++20 host compiler; GoogleTest, installed, or its sources in $TIGHTKV_GTEST_SOURCE or
# /usr/src/googletest. Without GoogleTest the tests are skipped, without compute-sanitizer or PyTorch those steps are,
# and each says so. Nothing is fetched. Takes about four minutes on 16 cores; every step has a limit of its own.
# Leaves in $OUT: report.md (what happened, the tables), compression.jsonl, peer.jsonl, and build, ptxas, tests and
# sanitizer logs.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${OUT:-build/on_device}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH=$PATH:/usr/local/cuda/bin
say() { echo "[$SECONDS s] $*" | tee -a "$out/report.md"; }
: >"$out/report.md"

command -v nvcc >/dev/null || { say "no nvcc here: nothing to do"; exit 1; }
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,clocks.max.mem --format=csv,noheader | tee -a "$out/report.md"
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
flags=(-std=c++20 -O3 -arch="sm_${capability:-90}" -I include -I tests)

# GoogleTest
gtest=${TIGHTKV_GTEST_SOURCE:-/usr/src/googletest}
[[ -d $gtest/googletest ]] && gtest=$gtest/googletest
test_libs=()
echo '#include <gtest/gtest.h>' >"$work/probe.cpp"
if [[ -e $gtest/src/gtest-all.cc ]]; then
  flags+=(-I "$gtest/include")
  (cd "$work" && g++ -std=c++20 -O1 -I "$gtest/include" -I "$gtest" -c "$gtest/src/gtest-all.cc" "$gtest/src/gtest_main.cc") &
  test_libs=("$work/gtest-all.o" "$work/gtest_main.o")
elif g++ -std=c++20 -fsyntax-only "$work/probe.cpp" 2>/dev/null; then
  test_libs=(-lgtest -lgtest_main)
else
  say "SKIPPED: tests, for want of GoogleTest (set TIGHTKV_GTEST_SOURCE)"
fi

# Build, all files at once
compile() { nvcc "${flags[@]}" -x cu -diag-suppress 177,1675 -c "$1" -o "$2" "${@:3}"; }
{
  compile benchmarks/cuda/compression.bench.cu "$work/bench.o" -Xptxas -v 2>"$out/ptxas.log" &
  if [[ ${#test_libs[@]} -gt 0 ]]; then
    for file in tests/cuda/*.test.cpp; do
      compile "$file" "$work/$(basename "$file").o" &
    done
  fi
  wait
} >"$out/build.log" 2>&1
nvcc "$work/bench.o" -o "$work/bench" >>"$out/build.log" 2>&1 && say "benchmarks built" || say "FAILED: benchmarks do not build"
if [[ ${#test_libs[@]} -gt 0 ]]; then
  nvcc "$work"/*.test.cpp.o "${test_libs[@]}" -lpthread -o "$work/tests" >>"$out/build.log" 2>&1 && say "tests built" ||
    say "FAILED: tests do not build"
fi

# Tests
if [[ -x $work/tests ]]; then
  timeout 60 "$work/tests" >"$out/tests.log" 2>&1 && say "tests passed" || say "FAILED: tests ($?)"
  tail -3 "$out/tests.log" | tee -a "$out/report.md"
fi

# Benchmarks
if [[ -x $work/bench ]]; then
  timeout 90 "$work/bench" >"$out/compression.jsonl" 2>"$work/bench.log" && say "benchmarks ran" || say "FAILED: benchmarks ($?)"
  cat "$work/bench.log" >>"$out/report.md"
fi
if python3 -c 'import torch' 2>/dev/null; then
  timeout 60 python3 benchmarks/cuda/peer.py >"$out/peer.jsonl" 2>>"$out/build.log" && say "peer ran" || say "FAILED: peer ($?)"
else
  say "SKIPPED: peer, for want of PyTorch"
  : >"$out/peer.jsonl"
fi
{
  echo
  python3 benchmarks/cuda/table.py "$out/compression.jsonl" "$out/peer.jsonl" || say "FAILED: table"
  echo
  python3 benchmarks/cuda/ptxas_table.py "$out/ptxas.log"
  echo
} >>"$out/report.md"

# compute-sanitizer, on the smallest tests
if [[ -x $work/tests ]] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    options=()
    [[ $tool == memcheck ]] && options=(--report-api-errors no) # one test provokes such an error
    timeout 60 compute-sanitizer --tool "$tool" "${options[@]}" --error-exitcode 9 "$work/tests" \
      --gtest_filter="${SANITIZED:-cuda_executor.*:cuda_methods.*:cuda_row*:cuda_lag*:cuda_mean*:cuda_select*}" >"$work/sanitizer.$tool.log" 2>&1
    status=$?
    case $status in
      0) say "$tool found nothing" ;;
      124) say "$tool ran out of time, with nothing found so far: $(grep -c "ERROR SUMMARY" "$work/sanitizer.$tool.log") summaries" ;;
      *) say "FAILED: $tool ($status)" ;;
    esac
    tail -2 "$work/sanitizer.$tool.log" | tee -a "$out/report.md"
    tail -200 "$work/sanitizer.$tool.log" >>"$out/sanitizer.log"
  done
else
  say "SKIPPED: compute-sanitizer"
fi
say "done"
! grep -q FAILED "$out/report.md"
