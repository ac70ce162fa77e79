#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""table.py JSON...: what Google Benchmark wrote, as one Markdown table, each row beside the floor of its own run."""

import json
import statistics
import sys

HEADINGS = ["what", "shape", "median ms", "spread", "speed", "floor ms", "x floor", "Mtokens/s"]


def runs_in(path):
    """The repetitions of each benchmark of a file, by name, in the order of the source."""
    with open(path) as file:
        written = json.load(file)["benchmarks"]
    written.sort(key=lambda run: (run["family_index"], run["per_family_instance_index"]))
    runs = {}
    for run in written:
        if run["run_type"] != "iteration":
            continue
        if run.get("error_occurred"):
            sys.exit(f"{run['name']}: {run['error_message']}")
        assert run["time_unit"] == "ms"
        runs.setdefault(run["name"], []).append(run)
    return runs


def median(runs):
    return statistics.median(run["cpu_time"] for run in runs)


def spread(runs):
    """The distance between the quartiles, as a part of the median."""
    if len(runs) < 2:
        return "-"
    low, _, high = statistics.quantiles((run["cpu_time"] for run in runs), n=4, method="inclusive")
    return f"{(high - low) / median(runs):.0%}"


def speed(run, ms):
    """Of the arithmetic where that is what bounds, else of the bytes that must move."""
    if "flops" in run:
        return f"{run['flops'] * run['cpu_time'] / ms / 1e9:.3g} GFLOP/s"
    return f"{run['floor_bytes'] / ms / 1e6:.3g} GB/s"


def shape(arguments):
    """heads:8/tokens:4096/head_dim:128/x:1 as 8 x 4096 x 128, x 1."""
    pairs = [argument.split(":") for argument in arguments]
    extents = [value for name, value in pairs if name in ("heads", "tokens", "head_dim")]
    rest = [f"{name.replace('_', ' ')} {value}" for name, value in pairs if name not in ("heads", "tokens", "head_dim")]
    return ", ".join([" x ".join(extents), *rest])


def floors_of(name, run, runs):
    """The medians of the floors of a benchmark, one per number of streams."""
    label = run.get("label", "")
    if not label.startswith("floor="):
        return []
    wanted = "/".join([label.removeprefix("floor="), *name.split("/")[1:]])
    found = [median(runs[floor]) for floor in runs if floor.split("/streams:")[0] == wanted]
    if not found:
        sys.exit(f"{name}: its floor, {wanted}, is not in the same run")
    return found


def rows_of(path):
    runs = runs_in(path)
    for name, repetitions in runs.items():
        ms = median(repetitions)
        run = repetitions[0]
        what, *arguments = name.split("/")
        floors = floors_of(name, run, runs)
        if not floors:
            continue  # it is one
        tokens = run["tokens/s"] * run["cpu_time"] / ms / 1e6
        yield [
            f"`{what}`",
            shape(arguments),
            f"{ms:.3g}",
            spread(repetitions),
            speed(run, ms),
            " / ".join(f"{floor:.3g}" for floor in floors),
            " / ".join(f"{ms / floor:.3g}" for floor in floors),
            f"{tokens:.3g}",
        ]


def main(paths):
    table = [HEADINGS, ["---"] * 2 + ["--:"] * (len(HEADINGS) - 2)]
    for path in paths:
        table += rows_of(path)
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADINGS))]
    for row in table:
        cells = (cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        print("| " + " | ".join(cells) + " |")


main(sys.argv[1:])
