#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""report.py RESULTS [--json | --readme FILE]: what measure.py wrote, as a Markdown table, as JSON, or put into a README
between its markers.
"""

import argparse
import json
import pathlib
import re
import subprocess

PEERS = ("eager", "compiled", "tuned", "kvpress")
BEGIN, END = "<!-- table: benchmarks/run.sh --peers -->\n", "<!-- end of table -->\n"


def as_json(row):
    """A row as others may want to read it."""
    times = {f"{name}_ms": round(row["ms"][name], 5) for name in ("ours", "floor", "eager", "compiled")}
    return {name: row[name] for name in ("op", "dtype", "tokens", "threads")} | times


def ratio(row, name):
    if name not in row["ms"]:
        return ""
    return f"{row['ms'][name] / row['ms']['ours']:.3g}x"


def cells(row):
    ms, spread = row["ms"], row["spread"]
    busy = "" if row["quiet_rounds"] == row["rounds"] else "†"
    yield from (row["op"] + busy, row["dtype"], f"{row['tokens']}", f"{row['threads']}")
    yield from (f"{ms['ours']:.3g}", f"{spread['ours']:.0%}", f"{ms['floor']:.3g}", f"{ms['ours'] / ms['floor']:.3g}")
    for name in ("eager", "compiled"):
        yield from (f"{ms[name]:.3g}", ratio(row, name))
    yield from (ratio(row, "tuned"), ratio(row, "kvpress"))


HEADINGS = ["what", "type", "tokens", "threads", "ours, ms", "spread", "floor, ms", "x floor", "eager, ms", "ratio"]
HEADINGS += ["compiled, ms", "ratio", "to tuned", "to kvpress"]


def machine():
    said = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    field = lambda name: re.search(rf"^{name}: *(.*)$", said, re.M)
    names = ("Model name", "CPU family", "Model", "CPU(s)", "L1d cache", "L2 cache", "L3 cache")
    found = [(name, field(re.escape(name))) for name in names]
    return ", ".join(f"{name} {match[1]}" for name, match in found if match)


def table(results):
    rows = [HEADINGS, ["---"] * 2 + ["--:"] * (len(HEADINGS) - 2)] + [list(cells(r)) for r in results]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    versions = sorted({f"PyTorch {r['torch']}, kvpress {r['kvpress']}" for r in results})
    dates = sorted(r["at"] for r in results)
    lines += ["", f"{machine()}; {'; '.join(versions)}; {dates[0]} to {dates[-1]}."]
    if any(r["quiet_rounds"] < r["rounds"] for r in results):
        lines += ["", "† The machine did not become idle before every round: trust these ratios less."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--readme", type=pathlib.Path)
    given = parser.parse_args()
    results = json.loads(given.results.read_text())
    if given.json:
        print("[\n" + ",\n".join(json.dumps(as_json(row)) for row in results) + "\n]")
    elif given.readme:
        before, _, rest = given.readme.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        if not rest or not after:
            raise SystemExit(f"{given.readme} lacks the marks of the table")
        given.readme.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}")
    else:
        print(table(results), end="")


main()
