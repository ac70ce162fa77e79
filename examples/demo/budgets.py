# SPDX-License-Identifier: Apache-2.0
"""budgets.py METHODS.json CONTEXTS.json: prints arguments for `tightkv run`, one a line: every method, at every budget.

Every method is given the same number of rows, because only then can the results be compared. Most are simply told the
number. LagKV's fraction is of each partition, while its sinks, its last partition and the remainder stay whole:

    rows = sink + k * (partitions - 1) + lag + remainder, with k rows kept of each partition

so the k that comes nearest is chosen. What was really kept is in the command's answer.
"""

import json
import pathlib
import sys

BUDGETS = (0.5, 0.25)


def kept_per_partition(rows, tokens, sink, lag):
    partitions, remainder = divmod(tokens - sink, lag)
    if partitions < 2:
        raise SystemExit(f"{tokens} tokens are too few for LagKV: at least {sink + 2 * lag} are needed")
    return min(max(round((rows - sink - lag - remainder) / (partitions - 1)), 1), lag)


def settings(method, budget, tokens):
    """The parameters that make this method keep so much of a cache of so many tokens."""
    default = {p["name"]: p["default"] for p in method["parameters"]}
    rows = int(budget * tokens)
    if "tokens" in default:
        return {"tokens": rows}
    if "lag" in default:
        kept = kept_per_partition(rows, tokens, default["sink"], default["lag"])
        return {"keep": min((kept + 0.5) / default["lag"], 1)}  # the half: so that rounding cannot lose a row
    return {"keep": budget}


def main(methods, contexts):
    methods = json.loads(pathlib.Path(methods).read_text())["methods"]
    (tokens,) = {c["tokens"] for c in json.loads(pathlib.Path(contexts).read_text())}
    for budget in BUDGETS:
        for method in methods:
            print("--method", method["name"], sep="\n")
            for key, value in settings(method, budget, tokens).items():
                print("--set", f"{key}={value}", sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
