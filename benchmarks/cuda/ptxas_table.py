# SPDX-License-Identifier: Apache-2.0
"""Registers, spills and stack of each kernel, from what ptxas says.

    nvcc -std=c++20 -O3 -arch=sm_90 -I include -Xptxas -v -c benchmarks/cuda/compression.bench.cu -o /dev/null 2>ptxas.log
    python3 benchmarks/cuda/ptxas_table.py ptxas.log
"""
import re
import subprocess
import sys

KERNEL = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")


def readable(mangled):
    name = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout.strip()
    name = re.sub(r"^void ", "", name).replace("tightkv::", "").replace("detail::", "").replace("(anonymous namespace)::", "")
    name = re.sub(r"\(.*", "", re.sub(r"\(int\)|\(unsigned int\)", "", name))
    name = re.sub(r"plane<(\w+)(?: const)?, strided, contiguous, device_memory>", r"\1 rows", name)
    return name.replace("batch_part<", "batch of <").replace(" >", ">")


def main():
    rows = []
    name, stack = "", (0, 0, 0)
    for line in open(sys.argv[1], encoding="utf-8"):
        if match := KERNEL.search(line):
            name = readable(match[1])
        elif match := STACK.search(line):
            stack = tuple(map(int, match.groups()))
        elif (match := USED.search(line)) and name:
            rows.append((name, int(match[1]), *stack))
            name = ""
    print("| kernel | registers | stack | spilled, bytes |")
    print("|---|---|---|---|")
    for kernel, registers, frame, stores, loads in sorted(rows):
        print(f"| `{kernel}` | {registers} | {frame} | {stores + loads} |")


main()
