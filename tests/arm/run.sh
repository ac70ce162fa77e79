#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh WORK_DIR: compiles tests/cpu for 64-bit ARM, and runs them on an emulated processor: the NEON kernels against the
# plain ones. Debian: g++-aarch64-linux-gnu qemu-user libgtest-dev. Takes about 100 seconds of processor time.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$1
gtest=/usr/src/googletest/googletest
gmock=/usr/src/googletest/googlemock

for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$tool" >/dev/null || { echo "SKIPPED: no $tool here, so the NEON kernels were not tried" && exit 0; }
done
[[ -e $gtest/src/gtest-all.cc ]] || { echo "SKIPPED: no source of GoogleTest in $gtest to compile for ARM" && exit 0; }

mkdir -p "$work"
compile() {
  aarch64-linux-gnu-g++ -std=c++20 -O1 -Wall -Wextra -Werror -c -isystem "$gtest/include" -isystem "$gmock/include" \
    -isystem "$gtest" -I "$root/include" -I "$root/tests" "$1" -o "$work/$(basename "$1").o"
}
for source in "$root"/tests/cpu/*.test.cpp "$gtest/src/gtest-all.cc" "$gtest/src/gtest_main.cc"; do compile "$source"; done
aarch64-linux-gnu-g++ "$work"/*.o -o "$work/test_cpu"
qemu-aarch64 -L /usr/aarch64-linux-gnu "$work/test_cpu" --gtest_brief=1
