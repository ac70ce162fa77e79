# SPDX-License-Identifier: Apache-2.0
"""table.py FOLDER: prints what the methods did, from FOLDER/TOKENS/NAME.json as `tightkv_llama compare` wrote them."""

import json
import pathlib
import statistics
import sys

COLUMNS = ("method", "cells", "state, MB", "compress, ms", "decode, tokens/s", "NLL", "KL", "digits, %")


def results_of(folder):
    """{context: {method: result}} of one length."""
    runs = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    return {name: {r["method"]: r for r in run["results"]} for name, run in runs.items()}


def row(method, contexts):
    """One line. Times and language are of the text, digits of the numbers that were stated."""
    of_text = contexts["text"]
    full, this = of_text["full"], of_text[method]
    digits = [c[method]["accuracy"] * 100 for name, c in contexts.items() if name != "text"]
    is_full = method == "full"

    def change(key, shown):
        return shown(this[key]) if is_full else f"{shown(full[key])} → {shown(this[key])}"

    return (
        method,
        change("cells", str),
        change("state_bytes", lambda b: f"{b / 1e6:.0f}"),
        "" if is_full else f"{this['compress_ms']:.0f}",
        change("decode_tokens_per_s", lambda t: f"{t:.1f}") if "decode_tokens_per_s" in this else "",
        f"{this['nll']:.3f}",
        f"{this['kl']:.4f}",
        f"{statistics.mean(digits):.0f}",
    )


def main(folder):
    print(f"| {' | '.join(COLUMNS)} |")
    print("| --- |" + " ---: |" * (len(COLUMNS) - 1))
    for length in sorted(pathlib.Path(folder).glob("[0-9]*"), key=lambda p: int(p.name)):
        contexts = results_of(length)
        for method in contexts["text"]:
            print(f"| {' | '.join(row(method, contexts))} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
