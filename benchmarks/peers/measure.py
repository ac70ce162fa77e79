#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""measure.py --library LIB --results FILE [--rows PATTERN]... : ours, the floor and the peers, in turns, on one machine.

Every repetition of a row runs each contender once, one after another, so that all see the same machine. A row is
measured in 3 rounds, each begun when nothing else runs; its figure is the median of the rounds' medians. FILE has all
rows that were measured so far: a row that is measured again takes its old place.
"""

import argparse
import fnmatch
import gc
import json
import os
import pathlib
import statistics
import time
from importlib.metadata import version

import torch

import ours
import rows

ROUNDS = 3
SECONDS = 0.7  # of a round, about
BUSY = 0.06  # of the processors' time: what is tolerated of others


def processor_time():
    """Seconds idle and in all, of all processors."""
    with open("/proc/stat") as file:
        ticks = [int(x) for x in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def wait_for_idle(patience):
    """Whether the machine became idle within so many seconds; this thread sleeps meanwhile."""
    end = time.monotonic() + patience
    while True:
        idle, total = processor_time()
        time.sleep(0.25)
        idle_later, total_later = processor_time()
        if 1 - (idle_later - idle) / max(1, total_later - total) <= BUSY:
            return True
        if time.monotonic() > end:
            return False


def once(contender):
    if torch.get_num_threads() > 1:
        time.sleep(0.004)  # the threads of whoever ran before stop looking for work
    return contender()[0]


def measure(work, patience):
    contenders = work.contenders()
    work.check()
    cycle = sum(once(c) for c in contenders.values()) / 1e3
    repetitions = max(3, min(25, int(SECONDS / cycle)))
    samples = {name: [] for name in contenders}
    quiet = 0
    for _ in range(ROUNDS):
        quiet += wait_for_idle(patience)
        for name in contenders:
            samples[name].append([])
        for _ in range(repetitions):
            for name, contender in contenders.items():
                samples[name][-1].append(once(contender))
    return samples, quiet


def summary(samples, quiet):
    """Medians, and the distance between the quartiles of ours as a part of its median."""
    medians = {name: statistics.median(map(statistics.median, rounds)) for name, rounds in samples.items()}
    spreads = {}
    for name, rounds in samples.items():
        low, _, high = statistics.quantiles([x for r in rounds for x in r], n=4, method="inclusive")
        spreads[name] = (high - low) / medians[name]
    return {"ms": medians, "spread": spreads, "quiet_rounds": quiet, "rounds": ROUNDS}


def wanted(patterns):
    for op, (work, dtypes, token_counts) in rows.ROWS.items():
        for dtype in dtypes:
            for tokens in token_counts:
                for threads in (1, 2):
                    name = f"{op}, {dtype}, {tokens}, {threads}"
                    if any(fnmatch.fnmatch(name, f"{p}*") for p in patterns):
                        yield (op, dtype, tokens, threads), work


def key_of(row):
    return row["op"], row["dtype"], row["tokens"], row["threads"]


def in_order(results):
    order = [key for key, _ in wanted(["*"])]
    return sorted((r for r in results if key_of(r) in order), key=lambda r: order.index(key_of(r)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", required=True)
    parser.add_argument("--results", required=True, type=pathlib.Path)
    parser.add_argument("--rows", action="append", help="'OP, TYPE, TOKENS, THREADS', with wildcards; the end may lack")
    parser.add_argument("--wait", type=float, default=20, help="seconds to wait for an idle machine, each round")
    parser.add_argument("--check", action="store_true", help="compile and compare, but do not time")
    given = parser.parse_args()

    library = ours.Library(given.library)
    results = json.loads(given.results.read_text()) if given.results.exists() else []
    for key, work in wanted(given.rows or ["*"]):
        op, dtype, tokens, threads = key
        torch.set_num_threads(threads)
        this = None  # the last row's memory goes first: compiled functions hold on to it
        torch._dynamo.reset()
        gc.collect()
        with torch.inference_mode():
            this = work(library, rows.DTYPES[dtype], tokens)
            if given.check:
                this.check()
                print(f"{op}, {dtype}, {tokens}, {threads}: the answers agree", flush=True)
                continue
            samples, quiet = measure(this, given.wait)
        row = {"op": op, "dtype": dtype, "tokens": tokens, "threads": threads, **summary(samples, quiet)}
        row |= {"torch": torch.__version__, "kvpress": version("kvpress"), "at": time.strftime("%Y-%m-%d %H:%M")}
        results = in_order([r for r in results if key_of(r) != key] + [row])
        temporary = given.results.with_suffix(".part")
        temporary.write_text(json.dumps(results, indent=1))
        os.replace(temporary, given.results)
        took = ", ".join(f"{name} {ms:.3g}" for name, ms in row["ms"].items())
        busy = "" if quiet == ROUNDS else f"; gave up waiting for an idle machine in {ROUNDS - quiet} of {ROUNDS} rounds"
        print(f"{op}, {dtype}, {tokens} tokens, {threads} threads, ms: {took}{busy}", flush=True)


main()
