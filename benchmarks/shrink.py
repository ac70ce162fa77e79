#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times `tightkv shrink` on a slot file beside its floor: the file read, and what is kept of it written.

    benchmarks/shrink.py [--slot FILE --kv-heads N] [--tightkv build/release/bin/tightkv] [--repetitions 9]

Without --slot it makes one of the size that llama-server saves for SmolLM2-135M after 6,795 tokens: 30 layers of 3 KV
heads of 64, keys and values in f16, 157 MB. Both go from page cache to page cache, by turns; outputs are removed
outside the timed region.

The floor is the copy alone: one thread of a process that runs already, through one page-aligned buffer that was used
before, so that it starts nothing and touches no new memory. The command's time is from before its process starts until
it has ended, with its threads and all memory that it touches.
"""
import argparse
import array
import json
import mmap
import os
import pathlib
import random
import statistics
import struct
import subprocess
import tempfile
import time

TOKENS, LAYERS, HEADS, DIM = 6795, 30, 3, 64
KEEP = 0.25


def make_slot(path):
    random.seed(1)
    period = 499_979  # a prime: no two of half a million rows are alike
    halves = struct.pack(f"<{period}e", *(random.gauss(0, 1) for _ in range(period)))
    row = HEADS * DIM * 2
    tensor = TOKENS * row
    pattern = halves * (tensor // len(halves) + 2)
    with open(path, "wb") as out:
        out.write(struct.pack("<3I", 0x67677371, 3, TOKENS) + array.array("i", range(TOKENS)).tobytes())
        out.write(struct.pack("<2I", 1, TOKENS))
        out.write(b"".join(struct.pack("<iIi", t, 1, 0) for t in range(TOKENS)))
        out.write(struct.pack("<2I", 0, LAYERS))
        for i in range(2 * LAYERS):
            start = i * tensor % len(halves)
            out.write(struct.pack("<iQ", 1, row))
            out.write(pattern[start : start + tensor])


def floor(source, target, kept, buffer):
    """Milliseconds to read the file and to write `kept` bytes."""
    begin = time.perf_counter()
    with open(source, "rb", buffering=0) as f:
        while f.readinto(buffer):
            pass
    middle = time.perf_counter()
    with open(target, "wb", buffering=0) as f:
        for _ in range(kept // len(buffer)):
            f.write(buffer)
        f.write(buffer[: kept % len(buffer)])
    end = time.perf_counter()
    os.remove(target)
    return 1e3 * (middle - begin), 1e3 * (end - middle)


def shrink(command, target):
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    wall = 1e3 * (time.perf_counter() - begin)
    os.remove(target)
    return wall, json.loads(done.stdout)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--slot")
    options.add_argument("--kv-heads", default=str(HEADS))
    options.add_argument("--tightkv", default="build/release/bin/tightkv")
    options.add_argument("--threads", default=str(os.cpu_count()))
    options.add_argument("--repetitions", type=int, default=9)
    given = options.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        slot = given.slot or os.path.join(folder, "slot.bin")
        if not given.slot:
            make_slot(slot)
        target = os.path.join(folder, "small.bin")
        print(f"{pathlib.Path(slot).stat().st_size} bytes, keep {KEEP}, {given.threads} threads, "
              f"medians of {given.repetitions}, ms\n")
        # Of a page's alignment: to some other addresses some processors copy half as fast.
        buffer = memoryview(mmap.mmap(-1, 1 << 20))
        buffer[:] = bytes(len(buffer))
        print("| method | floor: read + write | shrink | x floor | map and parse | decide and write | start and end |")
        print("|---|---|---|---|---|---|---|")
        for method in ("streaming_llm", "l2_norm", "key_diff", "lag_kv"):
            command = [given.tightkv, "shrink", slot, target, "--kv-heads", given.kv_heads, "--method", method, "--set",
                       f"keep={KEEP}", "--threads", given.threads, "--json"]
            _, first = shrink(command, target)
            floors, walls, parts = [], [], []
            for _ in range(given.repetitions):
                floors.append(floor(slot, target, first["bytes_after"], buffer))
                wall, said = shrink(command, target)
                walls.append(wall)
                parts.append([said["ms"][k] for k in ("read", "shrink")])
            read, write = (statistics.median(f[i] for f in floors) for i in (0, 1))
            wall = statistics.median(walls)
            part = [statistics.median(p[i] for p in parts) for i in range(2)]
            print(f"| {method} | {read:.1f} + {write:.1f} | {wall:.1f} | {wall / (read + write):.2f} | {part[0]:.1f} | "
                  f"{part[1]:.1f} | {wall - sum(part):.1f} |", flush=True)


if __name__ == "__main__":
    main()
